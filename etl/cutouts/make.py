"""Stage 7: the cutouts of a draw, brick by brick in worker processes, recorded in batches.

Files are written before their rows. After a crash in between, the next run writes the same bytes again and adds the
rows. A row whose file is gone (a store that was lost or moved) gets its file back.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field
from sqlalchemy import Engine, delete, update

from db.config import StageConfig
from db.copy import copy_arrow, psycopg_connection
from db.errors import MissingInputError
from db.lock import only_one
from db.models.imaging import Cutout, CutoutMetric
from db.provenance import recorded_run
from etl.cutouts.brick import BrickResult, Made, Places, Target, cut_brick
from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC
from etl.cutouts.targets import DrawRef, find_draw, load_targets
from etl.errors import CoaddError, EtlError
from etl.storage import open_store

BATCH_ROWS = 2000
Progress = Callable[[int, int], None]


class CutoutConfig(StageConfig):
    """Which cutouts to make, and from what."""

    draw: str = "default"
    coadds: str = Field(description="Folder or s3://bucket/prefix that holds coadd/AAA/<brick>/")
    version: str = Field(default="v1", pattern=r"^[A-Za-z0-9._-]+$", description="Version of the cutout set")
    n_workers: int = Field(default=2, ge=1, le=256, description="Bricks cut at once")


@dataclass(frozen=True)
class StoreAddress:
    """Where cutouts are written: setting `store` and `s3_endpoint_url`."""

    uri: str
    endpoint_url: str | None = None


@dataclass
class CutoutSummary:
    """Counts of one run; `failed` names bricks and reasons."""

    n_targets: int
    n_present: int
    n_without_brick: int
    n_by_status: dict[str, int] = field(default_factory=lambda: {"ok": 0, "partial": 0, "rejected": 0})
    failed: list[str] = field(default_factory=list)
    n_failed_targets: int = 0


def make_cutouts(
    engine: Engine, config: CutoutConfig, address: StoreAddress, on_progress: Progress | None = None
) -> CutoutSummary:
    """Make the cutouts that members of a draw still lack; `on_progress` gets cutouts done and to do.

    Raises
    ------
    MissingInputError
        When the draw is not there or has no members.
    CoaddError
        When the place of the coadds is no such place.
    StorageError
        When a store refuses.
    """
    _refuse_place_without_coadds(config.coadds)
    with engine.connect() as connection:
        draw = find_draw(connection, config.draw)
        targets = load_targets(connection, draw, config.version)
    if targets.empty:
        raise MissingInputError(f"draw '{draw.name}' has no members: run `stronglens draw` again")
    with only_one(engine, "cutouts"), recorded_run(engine, command="cutouts make", config=config) as run:
        todo = _lacking(targets, address, config.version)
        has_brick = todo["brickname"].notna()
        summary = CutoutSummary(len(targets), len(targets) - len(todo), int((~has_brick).sum()))
        places = Places(config.coadds, address.uri, address.endpoint_url, draw.layer)
        writer = _Writer(engine, draw, config.version, run.run_id, targets)
        n_done, n_total = 0, int(has_brick.sum())
        with _results(places, todo[has_brick], config.n_workers) as results:
            for result, n_targets in results:
                n_done += n_targets
                if result.error is not None:
                    summary.failed.append(result.error)
                    summary.n_failed_targets += n_targets
                for made in result.made:
                    summary.n_by_status[made.status] += 1
                writer.add(result)
                if on_progress is not None:
                    on_progress(n_done, n_total)
        writer.flush()
    summary.failed.sort()
    return summary


def _refuse_place_without_coadds(place: str) -> None:
    """A wrong folder is one mistake, not one for each brick."""
    if "://" not in place and not (Path(place) / "coadd").is_dir():
        raise CoaddError(f"{place}: holds no folder `coadd`; --coadds is the folder that has coadd/AAA/<brick>/ in it")


def _lacking(targets: pd.DataFrame, address: StoreAddress, version: str) -> pd.DataFrame:
    """Members without a row, and those whose row has lost its file."""
    store = open_store(address.uri, address.endpoint_url)
    folders = [f"cutouts/{kind}/{version}/" for kind in ("positives", "negatives")]
    there = {store.uri(key) for folder in folders for key in store.keys(folder)}
    lost = targets["uri"].notna() & ~targets["uri"].isin(there)
    return targets[targets["cutout_id"].isna() | lost]


@contextmanager
def _results(places: Places, todo: pd.DataFrame, n_workers: int) -> Iterator[Iterable[tuple[BrickResult, int]]]:
    """Cut every brick, in processes of their own unless one worker is enough; in the order of their names."""
    bricks = {str(name): _targets(rows) for name, rows in todo.groupby("brickname", sort=True)}
    if n_workers == 1 or len(bricks) < 2:
        yield ((cut_brick(places, name, targets), len(targets)) for name, targets in bricks.items())
        return
    # Not fork: the parent holds database connections and a thread that draws the progress bar.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(n_workers, len(bricks)), mp_context=context) as pool:
        futures = {pool.submit(cut_brick, places, name, targets): len(targets) for name, targets in bricks.items()}
        try:
            # In the order of the bricks, not of completion: rows, and so a training's order, are the same every time.
            yield ((future.result(), n_targets) for future, n_targets in futures.items())
        except BrokenProcessPool as exc:
            raise EtlError("a worker that cut bricks died (out of memory?): run again with fewer --workers") from exc
        finally:
            pool.shutdown(cancel_futures=True)


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
        )
        for row in rows.itertuples()
    ]


class _Writer:
    """Rows of `imaging.cutout`, by COPY, a batch a transaction."""

    def __init__(self, engine: Engine, draw: DrawRef, version: str, run_id: int, targets: pd.DataFrame) -> None:
        self._engine, self._draw, self._version, self._run_id, self._targets = engine, draw, version, run_id, targets
        self._waiting: list[Made] = []

    def add(self, result: BrickResult) -> None:
        self._waiting += result.made
        if len(self._waiting) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Add rows; a row that is there gets the hash of its new file, and its metrics go if that changed."""
        made = pd.DataFrame(self._waiting, columns=[item.name for item in fields(Made)]).set_index("index")
        old = self._targets.loc[made.index]
        is_new = old["cutout_id"].isna()
        is_changed = ~is_new & (made["sha256"] != old["sha256"])
        with self._engine.begin() as connection:
            if is_new.any():
                copy_arrow(psycopg_connection(connection), "imaging.cutout", self._rows(made[is_new]))
            for position in np.flatnonzero(is_changed):
                values = asdict(self._waiting[position]) | {"run_id": self._run_id}
                del values["index"]
                key = int(old["cutout_id"].iloc[position])
                connection.execute(delete(CutoutMetric).where(CutoutMetric.cutout_id == key))
                connection.execute(update(Cutout).where(Cutout.cutout_id == key).values(values))
        self._waiting = []

    def _rows(self, made: pd.DataFrame) -> pa.Table:
        of = self._targets.loc[made.index]
        is_positive = of["label"] == 1
        n_rows = len(made)
        constants = {
            "survey": self._draw.survey,
            "data_release": self._draw.data_release,
            "version": self._version,
            "layer": self._draw.layer,
            "source": "coadd",
            "bands": BANDS,
            "n_pixels": N_PIXELS,
            "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
            "run_id": self._run_id,
        }
        columns = {name: pa.array([value] * n_rows) for name, value in constants.items()}
        columns["lens_id"] = pa.array(of["lens_id"].where(is_positive), pa.int64())
        columns["ls_id"] = pa.array(of["ls_id"].where(~is_positive), pa.int64())
        columns |= {name: pa.array(of[name].to_numpy(float)) for name in ("ra", "dec")}
        columns["brickname"] = pa.array(of["brickname"], pa.string())
        columns |= {name: pa.array(made[name], pa.string()) for name in ("uri", "sha256", "status", "reject_reason")}
        columns["n_bytes"] = pa.array(made["n_bytes"].astype("Int64"), pa.int64())
        columns["nan_fraction"] = pa.array(made["nan_fraction"].to_numpy(float))
        return pa.table(columns)
