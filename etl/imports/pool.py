"""Stage `pool import`: the galaxies of an earlier pool's manifest into ``catalog.galaxy``.

A file is gone over twice: first everything is checked and compared, then what is new is copied. Both happen in one
transaction with the file's ledger row, behind the lock of the file's name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field
from sqlalchemy import Connection, Engine, insert, select

from db.bulk import analyze, require_indexes
from db.config import StageConfig
from db.copy import copy_arrow, psycopg_connection
from db.models import Survey
from db.models.catalog import SweepFile
from db.provenance import recorded_run
from etl.draw.rules import ConfuserRules
from etl.errors import SweepFileError
from etl.imports.batches import CheckedBatch, Progress, check_rows, note_repeats, numbered_batches
from etl.imports.columns import ALWAYS_MEASURED, DERIVED, KEYS, MEASURED
from etl.imports.derived import Rules, cells_of, texts
from etl.imports.errors import ManifestError
from etl.imports.findings import Differences, RowProblems
from etl.imports.known import compare_known, known_galaxies
from etl.imports.manifest import Manifest, open_manifest
from etl.splits import SplitConfig
from etl.survey import DATA_RELEASE, DR10_RELEASES
from etl.sweeps.ledger import lock_file, name_bricks

REQUIRED = ("ra", "dec", "type", *ALWAYS_MEASURED)
_log = logging.getLogger(__name__)


class PoolImportConfig(StageConfig):
    """How to take a manifest."""

    release: int = Field(default=10_000, ge=DR10_RELEASES.start, lt=DR10_RELEASES.stop)
    """Release number of its galaxies, where it has no column of them."""
    accept_differences: bool = False
    """Take a file that says otherwise than we derive, or than the catalog has; ours is what is stored."""


@dataclass(frozen=True)
class PoolImport:
    """What became of one file; a skipped one was imported before."""

    name: str
    status: Literal["loaded", "skipped"]
    n_rows: int
    n_new: int = 0
    ignored: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    differences: Differences = field(default_factory=Differences)


def import_pool(
    engine: Engine, path: Path, config: PoolImportConfig, on_progress: Progress | None = None
) -> PoolImport:
    """Bring the galaxies of one manifest into the pool; the same file again changes nothing.

    Raises
    ------
    ManifestError
        When the file cannot be read, lacks columns, has rows that cannot be taken, is another than the one imported
        under its name, or (unless differences are accepted) differs from what we derive or have. Nothing is written.
    """
    manifest = open_manifest(path, (*KEYS, "ra", "dec", "type", *MEASURED, *DERIVED), REQUIRED)
    what = {"file": manifest.name, "sha256": manifest.sha256} | config.model_dump()
    with recorded_run(engine, command="pool import", config=what) as run:
        with engine.begin() as connection:
            require_indexes(connection)
            lock_file(connection, manifest.name)
            if _is_imported(connection, manifest):
                return PoolImport(manifest.name, "skipped", manifest.n_rows)
            differences, is_new = _check(connection, manifest, config, on_progress)
            n_new = int(is_new.sum())
            sweep_file_id = connection.scalar(
                insert(SweepFile)
                .values(
                    survey=Survey.DR10,
                    data_release=DATA_RELEASE,
                    name=manifest.name,
                    kind="import",
                    uri=str(path.resolve()),
                    n_bytes=manifest.n_bytes,
                    sha256=manifest.sha256,
                    n_read=manifest.n_rows,
                    n_kept=n_new,
                    n_not_selected=manifest.n_rows - n_new,
                    n_quarantined=0,
                    status="loaded",
                    differences=differences.counts(),
                    run_id=run.run_id,
                )
                .returning(SweepFile.sweep_file_id)
            )
            assert sweep_file_id is not None  # noqa: S101 - RETURNING of one inserted row
            bricks: dict[int, str] = {}
            galaxies = _galaxies(manifest, config, sweep_file_id, is_new, bricks)
            copy_arrow(psycopg_connection(connection), "catalog.galaxy", galaxies)
            _name_bricks(connection, manifest, bricks)
        if n_new:
            analyze(engine)
    absent = tuple(name for name in MEASURED if not manifest.layout.has(name))
    _log.info("%s: %d galaxies, %d new", manifest.name, manifest.n_rows, n_new)
    return PoolImport(manifest.name, "loaded", manifest.n_rows, n_new, manifest.layout.ignored, absent, differences)


def _name_bricks(connection: Connection, manifest: Manifest, bricks: dict[int, str]) -> None:
    try:
        name_bricks(connection, Survey.DR10, bricks)
    except SweepFileError as exc:
        raise ManifestError(
            f"{manifest.path}: {exc}: a sweep file with bricks off the survey's grid was loaded"
        ) from exc


def _is_imported(connection: Connection, manifest: Manifest) -> bool:
    before = connection.scalar(
        select(SweepFile.sha256).where(
            SweepFile.survey == Survey.DR10,
            SweepFile.data_release == DATA_RELEASE,
            SweepFile.name == manifest.name,
            SweepFile.status == "loaded",
        )
    )
    if before is not None and before != manifest.sha256:
        raise ManifestError(
            f"{manifest.path}: another file of this name was imported (SHA-256 {before[:12]}..., this one "
            f"{manifest.sha256[:12]}...); nothing was touched, give this one another name"
        )
    return before is not None


def _check(
    connection: Connection, manifest: Manifest, config: PoolImportConfig, on_progress: Progress | None
) -> tuple[Differences, NDArray[np.bool_]]:
    """Go over all rows; return what differs, and which rows the catalog does not have; shape (rows,)."""
    rules = Rules(SplitConfig(), ConfuserRules())
    problems, found = RowProblems(str(manifest.path), manifest.n_rows), Differences()
    columns = ["ra", "dec", "type", *(name for name in MEASURED if manifest.layout.has(name))]
    keys, is_new = [np.empty(0, np.int64)], [np.empty(0, np.bool_)]
    for numbers, rows in numbered_batches(manifest, on_progress):
        batch = check_rows(numbers, rows, config.release, problems)
        ls_id = batch.keys.ls_id
        rules.compare(batch.rows, batch.keys.names, found)
        galaxies = known_galaxies(connection, ls_id[ls_id >= 0], columns)
        is_known = np.isin(ls_id, galaxies.index.to_numpy(np.int64))
        known = batch.rows.filter(pa.array(is_known))
        compare_known(known, batch.keys.names[is_known], galaxies.loc[ls_id[is_known]], found)
        keys.append(ls_id)
        is_new.append(~is_known)
    note_repeats(np.concatenate(keys), problems)
    problems.refuse()
    if found.n_different and not config.accept_differences:
        raise ManifestError(
            f"{manifest.path}: differs from what we derive or have in {found.in_words()}; "
            "--accept-differences takes it with our values"
        )
    return found, np.concatenate(is_new)


def _galaxies(
    manifest: Manifest,
    config: PoolImportConfig,
    sweep_file_id: int,
    is_new: NDArray[np.bool_],
    names: dict[int, str],
) -> Iterator[pa.RecordBatch]:
    """Yield the new galaxies as rows of the catalog, and note the names of their bricks."""
    measured = [name for name in MEASURED if manifest.layout.has(name)]
    for numbers, rows in numbered_batches(manifest):
        batch = check_rows(numbers, rows, config.release, RowProblems(manifest.name, manifest.n_rows))
        wanted = is_new[numbers]
        names.update(zip(batch.keys.brickid[wanted].tolist(), batch.keys.brickname[wanted].tolist(), strict=True))
        yield _as_galaxies(batch, measured, sweep_file_id).filter(pa.array(wanted))


def _as_galaxies(batch: CheckedBatch, measured: list[str], sweep_file_id: int) -> pa.RecordBatch:
    rows, n_rows = batch.rows, len(batch.rows)
    ra, dec = (rows.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
    return pa.RecordBatch.from_pydict(
        {
            "ls_id": pa.array(batch.keys.ls_id),
            "ra": rows.column("ra"),
            "dec": rows.column("dec"),
            "healpix_128": pa.array(cells_of(ra, dec)),
            "sweep_file_id": pa.repeat(pa.scalar(sweep_file_id, pa.int32()), n_rows),
            "survey": pa.repeat(Survey.DR10.value, n_rows),
            "data_release": pa.repeat(pa.scalar(DATA_RELEASE, pa.int16()), n_rows),
            "type": pa.array(texts(rows, "type"), pa.string()),
            **{name: rows.column(name) for name in measured},
            "is_imported": pa.repeat(True, n_rows),
        }
    )
