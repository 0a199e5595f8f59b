"""Stage `cutouts register`: batch by batch read, placed, compared with what is recorded, copied and recorded.

A batch is one transaction, after its files are in the store. A run that was stopped is run again: what is recorded is
then found to be there, and what was copied without its row gets it.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from pydantic import Field
from sqlalchemy import Engine

from db.bulk import require_indexes
from db.config import NAME_PATTERN, StageConfig
from db.lock import only_one
from db.models import Survey
from db.provenance import recorded_run
from etl.cutouts.make import StoreAddress
from etl.cutouts.register.checksums import compare, read_checksums
from etl.cutouts.register.errors import Kind, NotTaken, RegisterError
from etl.cutouts.register.place import SUFFIX, Place, find_place
from etl.cutouts.register.placing import place, releases_in_pool
from etl.cutouts.register.reading import Files, Sound, read_files
from etl.cutouts.register.recorded import new_files
from etl.cutouts.register.storing import Copies, copy_files, record_files
from etl.cutouts.targets import LAYERS
from etl.distribute import Distribute, in_processes
from etl.storage import Store, open_store

PIECE_FILES = 256
BATCH_FILES = 4096

Progress = Callable[[int, int], None]
_log = logging.getLogger(__name__)


class RegisterConfig(StageConfig):
    """Which files to take in, and as what."""

    place: str = Field(description="Folder or s3://bucket/prefix with npz files, at any depth")
    version: str = Field(default="v1", pattern=NAME_PATTERN, description="Version of the cutout set")
    manifest: Path | None = Field(default=None, description="CSV or Parquet with name and sha256 of each file")
    n_workers: int = Field(default=2, ge=1, le=256, description="Processes that read, and threads that copy")


@dataclass
class RegisterSummary:
    """Counts of one run, and the files that were not taken in."""

    n_files: int
    n_present: int = 0
    n_copied: int = 0
    n_by_status: Counter[str] = field(default_factory=Counter)
    not_taken: list[NotTaken] = field(default_factory=list)

    def reasons(self) -> dict[Kind, list[NotTaken]]:
        """Return what was not taken in by its kind, the most frequent first."""
        by_kind: dict[Kind, list[NotTaken]] = {}
        for odd in self.not_taken:
            by_kind.setdefault(odd.kind, []).append(odd)
        return dict(sorted(by_kind.items(), key=lambda item: -len(item[1])))


def register_cutouts(
    engine: Engine,
    config: RegisterConfig,
    address: StoreAddress,
    on_progress: Progress | None = None,
    distribute: Distribute | None = None,
) -> RegisterSummary:
    """Take in cutouts of the survey that exist already; `on_progress` gets files done and to do.

    Raises
    ------
    RegisterError
        When the place holds no npz file, or the list of hashes cannot be used.
    MissingInputError
        When the pool has no indexes yet.
    StorageError
        When a store refuses.
    """
    where = find_place(config.place, address.endpoint_url)
    names = where.names()
    summary = RegisterSummary(len(names))
    sums: Sequence[str | None] = [None] * len(names)
    if config.manifest is not None:
        names, sums, summary.not_taken = compare(names, read_checksums(config.manifest))
    with only_one(engine, "cutouts"), recorded_run(engine, command="cutouts register", config=config) as run:
        with engine.connect() as connection:
            require_indexes(connection)
            releases = releases_in_pool(connection)
        taker = _Taker(engine, config, where, open_store(address.uri, address.endpoint_url), releases, run.run_id)
        pieces = [
            Files(
                where, taker.layer, tuple(names[first : first + PIECE_FILES]), tuple(sums[first : first + PIECE_FILES])
            )
            for first in range(0, len(names), PIECE_FILES)
        ]
        waiting: list[Sound | NotTaken] = []
        n_done = 0
        with (distribute or in_processes(config.n_workers))(read_files, pieces) as results:
            for result in results:
                waiting += result
                if len(waiting) >= BATCH_FILES:
                    taker.take(waiting, summary)
                    waiting = []
                n_done += len(result)
                if on_progress is not None:
                    on_progress(n_done, len(names))
        taker.take(waiting, summary)
    summary.not_taken.sort(key=lambda odd: odd.file)
    return summary


@dataclass(frozen=True)
class _Taker:
    """Takes in one batch at a time."""

    engine: Engine
    config: RegisterConfig
    where: Place
    store: Store
    releases: Sequence[int]
    run_id: int
    layer: str = LAYERS[Survey.DR10.value]

    def take(self, batch: Sequence[Sound | NotTaken], summary: RegisterSummary) -> None:
        summary.not_taken += [item for item in batch if isinstance(item, NotTaken)]
        sound = [item for item in batch if isinstance(item, Sound)]
        if not sound:
            return
        with self.engine.begin() as connection:
            placed = place(connection, sound, self.releases)
            summary.not_taken += placed.odd
            files = placed.files
            folder = files["is_positive"].map({True: "positives", False: "negatives"})
            keys = "cutouts/" + folder.astype(object) + f"/{self.config.version}/" + files["stem"] + SUFFIX
            in_store = self.where.uris_in(self.store, files["name"])
            files = files.assign(uri=in_store.where(in_store.notna(), keys.map(self.store.uri)))
            files["is_copied"] = in_store.isna()
            files, n_present, odd = new_files(connection, files, self.layer, self.config.version)
            summary.n_present += n_present
            summary.not_taken += odd
            copies = Copies(self.where.store, self.where.prefix, self.store, self.config.n_workers)
            refused = copy_files(copies, files[files["is_copied"]])
            summary.not_taken += refused.values()
            files = files[~files["name"].isin(refused)]
            if files.empty:
                return
            record_files(connection, files, layer=self.layer, version=self.config.version, run_id=self.run_id)
        summary.n_copied += int(files["is_copied"].sum())
        summary.n_by_status.update(files["status"])
        _log.info("%d cutouts registered", len(files))


def write_report(path: Path, not_taken: Sequence[NotTaken]) -> None:
    """Write a CSV file with every file that was not taken in: file, kind, reason.

    Raises
    ------
    RegisterError
        When it cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "kind", "reason"))
            writer.writerows(astuple(odd) for odd in not_taken)
    except OSError as exc:
        raise RegisterError(f"{path}: cannot be written ({exc.strerror}); give another --report") from exc
