"""Stage 7: the cutouts of a draw, brick by brick in worker processes, recorded in batches.

Files are written before their rows. After a crash in between, the next run writes the same bytes again and adds the
rows. A row whose file is gone (a store that was lost or moved) gets its file back if the bytes are those that the row
says; no row is ever changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine

from db.errors import MissingInputError
from db.lock import only_one
from db.provenance import recorded_run
from etl.cutouts.brick import BrickResult, Piece, Places, cut_brick
from etl.cutouts.changes import Recorded, changed_bricks, recorded_states
from etl.cutouts.coadd import CoaddSource
from etl.cutouts.config import CutoutConfig, pixel_source
from etl.cutouts.held_out import load_held_out
from etl.cutouts.meta import Target
from etl.cutouts.record import Batch, Recorder
from etl.cutouts.source import PixelSource
from etl.cutouts.targets import DrawRef, find_draw, load_targets, refuse_used
from etl.distribute import Distribute, in_processes
from etl.storage import open_store

MAX_TARGETS = 500
"""Targets of one brick that are cut at once, 60 MB of pixels; a brick with more is opened again for the rest."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StoreAddress:
    """Where cutouts are written: setting `store` and `s3_endpoint_url`."""

    uri: str
    endpoint_url: str | None = None


@dataclass
class CutoutSummary:
    """Counts of one run; `failed` has each reason for which something was not made once."""

    n_targets: int
    n_present: int
    n_without_brick: int
    n_by_status: dict[str, int] = field(default_factory=lambda: {"ok": 0, "partial": 0, "rejected": 0})
    failed: list[str] = field(default_factory=list)
    n_failed_targets: int = 0
    are_held_out: bool = False

    def add(self, result: BrickResult) -> None:
        """Count what became of a piece."""
        self.n_failed_targets += len(result.failures)
        self.failed += dict.fromkeys(result.failures)
        for made in result.made:
            self.n_by_status[made.status] += 1

    def lines(self) -> list[str]:
        """Say what was done, for people."""
        counts = ", ".join(f"{n} {status}" for status, n in self.n_by_status.items())
        what = "held-out lenses" if self.are_held_out else "members"
        lines = [f"{self.n_targets} {what}, {self.n_present} had their cutout; made now: {counts}"]
        if self.n_without_brick:
            lines.append(f"{self.n_without_brick} {what} lie in no brick that is loaded")
        return lines


def make_cutouts(
    engine: Engine,
    config: CutoutConfig,
    address: StoreAddress,
    on_progress: Progress | None = None,
    distribute: Distribute | None = None,
) -> CutoutSummary:
    """Make the cutouts that members of a draw, or the lenses that it holds out, still lack.

    `on_progress` gets cutouts done and to do.
    Bricks are cut where `distribute` says: in processes of this machine, if it says nothing. The service is asked from
    this process alone, which keeps the pace.

    Raises
    ------
    MissingInputError
        When the draw is not there, has no members, or holds no lens out; or lenses came after the last match.
    CoaddError
        When the place of the coadds is no such place.
    CutoutError
        When a file to make is that of another cutout.
    StorageError
        When a store refuses.
    """
    with engine.connect() as connection:
        draw = find_draw(connection, config.draw)
        source = pixel_source(config, draw, address.endpoint_url)
        targets = _targets_of(connection, draw, config)
    if distribute is None or source.kind == "service":
        distribute = in_processes(config.n_workers if source.kind == "coadd" else 1)
    with only_one(engine, "cutouts"), recorded_run(engine, command="cutouts make", config=config) as run:
        todo = _lacking(targets, address)
        has_brick = todo["brickname"].notna()
        summary = CutoutSummary(
            len(targets), len(targets) - len(todo), int((~has_brick).sum()), are_held_out=config.held_out
        )
        recorded = _recorded(engine, draw, config, address, todo[has_brick])
        recorder = Recorder(engine, Batch(draw, config.version, source.kind, run.run_id), targets)
        work = partial(cut_brick, source, Places(address.uri, address.endpoint_url, draw.layer, config.version))
        n_done, n_total = 0, int(has_brick.sum())
        with distribute(work, list(_pieces(todo[has_brick], recorded))) as results:
            for result in results:
                n_done += result.n_targets
                summary.add(result)
                recorder.add(result.made)
                if on_progress is not None:
                    on_progress(n_done, n_total)
        recorder.flush()
        if config.check_sources:
            summary.failed += _all_changed(source, recorded, config.version, distribute, on_progress)
    summary.failed = sorted(set(summary.failed))
    return summary


def _targets_of(connection: Connection, draw: DrawRef, config: CutoutConfig) -> pd.DataFrame:
    if config.held_out:
        return load_held_out(connection, draw, config.version)
    targets = load_targets(connection, draw, config.version)
    if targets.empty:
        raise MissingInputError(f"draw '{draw.name}' has no members: run `stronglens draw` again")
    return targets


def _lacking(targets: pd.DataFrame, address: StoreAddress) -> pd.DataFrame:
    """Members without a row, and those whose row has lost its file; a folder is listed once, not asked file by file."""
    store = open_store(address.uri, address.endpoint_url)
    has_file = targets["uri"].notna()
    keys = [store.key(uri) for uri in targets.loc[has_file, "uri"]]
    there = {key for folder in {key[: key.rfind("/") + 1] for key in keys} for key in store.keys(folder)}
    is_lost = has_file.copy()
    is_lost[has_file] = np.array([key not in there for key in keys], dtype=bool)
    return targets[targets["cutout_id"].isna() | is_lost]


def _recorded(
    engine: Engine, draw: DrawRef, config: CutoutConfig, address: StoreAddress, todo: pd.DataFrame
) -> Recorded:
    """Ask what this version was cut from so far; refuse files that other cutouts have."""
    if todo.empty and not config.check_sources:
        return Recorded({})
    store = open_store(address.uri, address.endpoint_url)
    with engine.connect() as connection:
        refuse_used(connection, [store.uri(key) for key in todo.loc[todo["cutout_id"].isna(), "key"]])
        return recorded_states(connection, draw, config.version)


def _all_changed(
    source: PixelSource, recorded: Recorded, version: str, distribute: Distribute, on_progress: Progress | None
) -> list[str]:
    if not isinstance(source, CoaddSource):
        return []
    return changed_bricks(source, recorded, version, distribute, on_progress)


def _pieces(todo: pd.DataFrame, recorded: Recorded) -> Iterator[Piece]:
    """Give the targets of each brick, in the order of the bricks' names."""
    bricks = list(todo.groupby("brickname", sort=True))
    states = recorded.around([str(name) for name, _ in bricks])
    for name, rows in bricks:
        targets = _targets(rows)
        for first in range(0, len(targets), MAX_TARGETS):
            yield Piece(str(name), tuple(targets[first : first + MAX_TARGETS]), states[str(name)])


def _targets(rows: pd.DataFrame) -> list[Target]:
    return [
        Target(
            index=int(row.Index),
            key=row.key,
            stem=row.stem,
            label=int(row.label),
            ra=float(row.ra),
            dec=float(row.dec),
            tier=row.tier or "",
            weight=float(row.weight),
            nobs_z=-1 if pd.isna(row.nobs_z) else int(row.nobs_z),
            match_type=row.type or "",
            sha256=row.sha256 if isinstance(row.sha256, str) else None,
        )
        for row in rows.itertuples()
    ]
