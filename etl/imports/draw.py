"""Stage `draw import`: an earlier draw's negatives as a draw of ours, with the positives that the catalog has.

Who was drawn, for which pool and with what probability is the manifest's word; all else is derived from the catalog and
compared. The whole draw is written in one transaction or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field
from sqlalchemy import Connection, Engine, func, select, update

from db.bulk import require_indexes
from db.config import NAME_PATTERN, StageConfig
from db.lock import only_one
from db.models import Survey
from db.models.provenance import Config
from db.models.sampling import Draw, DrawMember, SplitScheme
from db.provenance import recorded_run
from etl.draw.rules import DrawConfig
from etl.draw.stage import refuse_loaded_meanwhile, refuse_stale_match
from etl.imports.batches import Progress, check_rows, note_repeats, numbered_batches
from etl.imports.columns import DERIVED, KEYS, MEASURED
from etl.imports.derived import Rules, texts
from etl.imports.errors import ManifestError
from etl.imports.findings import Differences, RowProblems
from etl.imports.keys import names_of, read_keys
from etl.imports.manifest import Manifest, open_manifest
from etl.imports.members import NegativeReader, is_positive
from etl.imports.rows import compare_positives, insert_draw, insert_negatives
from etl.splits import SplitConfig
from etl.survey import DATA_RELEASE, DR10_RELEASES

REQUIRED = ("ra", "dec", "pool", "category")
_WANTED = (*KEYS, "ra", "dec", "type", *MEASURED, *DERIVED, "label", "tier", "inclusion_probability")


class DrawImportConfig(StageConfig):
    """How to take a draw; what it is compared with are the rules of a draw made here."""

    name: str = Field(pattern=NAME_PATTERN)
    scheme: str = "default"
    """Split scheme that its splits are compared with."""
    release: int = Field(default=10_000, ge=DR10_RELEASES.start, lt=DR10_RELEASES.stop)
    """Release number of its galaxies, where it has no column of them."""
    accept_differences: bool = False
    """Take a draw that differs from what we derive or have, with our values and without negatives near known lenses."""


@dataclass(frozen=True)
class DrawImport:
    """What became of a draw; one that was imported before has only a name."""

    name: str
    is_new: bool
    n_by_pool: dict[str, int] = field(default_factory=dict)
    n_left_out: int = 0
    is_probability_known: bool = False
    ignored: tuple[str, ...] = ()
    differences: Differences = field(default_factory=Differences)


@dataclass
class _Gathered:
    """Rows of all files: negatives as `NegativeReader` has them, positives (ls_id, name, tier), missing ones' names."""

    negatives: list[pd.DataFrame] = field(default_factory=list)
    positives: list[pd.DataFrame] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    keys: list[NDArray[np.int64]] = field(default_factory=list)


def import_draw(
    engine: Engine, paths: Sequence[Path], config: DrawImportConfig, on_progress: Progress | None = None
) -> DrawImport:
    """Bring in one draw from the files of its manifest; the same files again change nothing.

    Raises
    ------
    ManifestError
        When a file cannot be read, lacks columns or has rows that cannot be taken, a negative is not in the catalog, a
        draw of this name exists, or (unless differences are accepted) something differs from what we have or derive.
    MissingInputError
        When the pool has no indexes, or lenses or galaxies came after the last match.
    """
    manifests = [open_manifest(path, _WANTED, REQUIRED) for path in paths]
    what = config.model_dump() | {"files": {manifest.name: manifest.sha256 for manifest in manifests}}
    with engine.connect() as connection:
        if _is_imported(connection, config.name, what["files"]):
            return DrawImport(config.name, is_new=False)
    with (
        only_one(engine, "draws"),
        only_one(engine, "the match"),
        recorded_run(engine, command="draw import", config=what) as run,
        engine.begin() as connection,
    ):
        require_indexes(connection)
        refuse_stale_match(connection, Survey.DR10, DATA_RELEASE)
        rules, found = DrawConfig(name=config.name, survey=Survey.DR10), Differences()
        gathered = _read(connection, manifests, config, found, on_progress)
        draw_id = insert_draw(connection, rules, run)
        negatives = pd.concat(gathered.negatives).sort_values("ls_id")
        is_near_lens = negatives["is_near_lens"].to_numpy(np.bool_)
        insert_negatives(connection, draw_id, negatives[~is_near_lens])
        compare_positives(connection, draw_id, pd.concat(gathered.positives), found)
        if found.n_different and not config.accept_differences:
            raise ManifestError(
                f"draw {config.name}: the manifest differs from what we derive or have in {found.in_words()}; "
                "--accept-differences takes it with our values, without negatives near known lenses"
            )
        connection.execute(update(Draw).where(Draw.draw_id == draw_id).values(differences=found.counts()))
        refuse_loaded_meanwhile(connection, Survey.DR10, DATA_RELEASE)
        return DrawImport(
            name=config.name,
            is_new=True,
            n_by_pool=_count_pools(connection, draw_id),
            n_left_out=int(is_near_lens.sum()),
            is_probability_known=bool(negatives["inclusion_probability"].notna().all()),
            ignored=manifests[0].layout.ignored,
            differences=found,
        )


def _is_imported(connection: Connection, name: str, files: dict[str, str]) -> bool:
    statement = select(Draw.is_imported, Config.body).join(Config, Config.config_sha256 == Draw.config_sha256)
    before = connection.execute(statement.where(Draw.name == name)).first()
    if before is not None and not (before.is_imported and before.body["files"] == files):
        how = "imported from other files" if before.is_imported else "drawn here"
        raise ManifestError(f"draw {name} exists, {how}: choose another --name")
    return before is not None


def _split_rule(connection: Connection, scheme: str) -> SplitConfig:
    """Return the rule of a split scheme; the default one need not have been assigned yet."""
    columns = [SplitScheme.__table__.c[name] for name in SplitConfig.model_fields]
    of_name = (SplitScheme.name == scheme) & (SplitScheme.kind == "hash")  # a manifest knows no folds
    row = connection.execute(select(*columns).where(of_name)).mappings().first()
    if row is not None:
        return SplitConfig(**row)
    if scheme != SplitConfig().name:
        raise ManifestError(f"split scheme {scheme} does not exist: run `stronglens splits assign --name {scheme}`")
    return SplitConfig()


def _read(
    connection: Connection,
    manifests: Sequence[Manifest],
    config: DrawImportConfig,
    found: Differences,
    on_progress: Progress | None,
) -> _Gathered:
    gathered = _Gathered()
    derive = Rules(_split_rule(connection, config.scheme), DrawConfig().confusers)
    for manifest in manifests:
        problems = RowProblems(str(manifest.path), manifest.n_rows)
        reader = NegativeReader(connection, derive, problems, found)
        for numbers, rows in numbered_batches(manifest, on_progress):
            positive, contradictions = is_positive(rows)
            problems.note(numbers, names_of(rows), contradictions)
            gathered.positives.append(_positives(rows.filter(pa.array(positive)), config.release))
            batch = check_rows(numbers[~positive], rows.filter(pa.array(~positive)), config.release, problems)
            negatives, missing = reader.read(batch)
            gathered.negatives.append(negatives)
            gathered.missing += missing.tolist()
            gathered.keys.append(batch.keys.ls_id)
        problems.refuse()
    if not sum(len(keys) for keys in gathered.keys):
        raise ManifestError(f"draw {config.name}: {manifests[0].path} has no negatives; give the manifest of a draw")
    every = RowProblems(f"draw {config.name}", sum(manifest.n_rows for manifest in manifests))
    note_repeats(np.concatenate(gathered.keys), every)
    every.refuse()
    if gathered.missing:
        first = ", ".join(gathered.missing[:3])
        raise ManifestError(
            f"draw {config.name}: {len(gathered.missing):,} of its negatives are not in catalog.galaxy ({first}): run "
            "`stronglens pool import` or `stronglens sweeps load` first, then `stronglens match`"
        )
    return gathered


def _positives(rows: pa.RecordBatch, release: int) -> pd.DataFrame:
    """Return ls_id (-1 where a positive has no key of a galaxy), name and, where a manifest has it, tier."""
    keys = read_keys(rows, release)
    columns: dict[str, Any] = {"ls_id": keys.ls_id, "name": keys.names}
    if "tier" in rows.schema.names:
        columns["tier"] = texts(rows, "tier")
    return pd.DataFrame(columns)


def _count_pools(connection: Connection, draw_id: int) -> dict[str, int]:
    counts = select(DrawMember.pool, func.count()).where(DrawMember.draw_id == draw_id).group_by(DrawMember.pool)
    return dict(connection.execute(counts).all())
