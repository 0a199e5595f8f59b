"""Stage 1: published rows into ``catalog.lens_source``, and the objects, grades and redshifts that they speak of.

A load is one transaction under one lock: two at once wait for each other. A row that is in the ledger already, by
catalog and row hash, is left as it is, so a load can be repeated and interrupted at will. Rows only ever add:
no lens changes its key, name or position.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection, Engine, func, select

from db.errors import MissingInputError
from db.models.catalog import Lens, LensGrade, LensRedshift, LensSource
from db.provenance import recorded_run
from etl.catalogs.ledger import add_lenses, add_sources, insert_columns
from etl.catalogs.lenscat import lenscat_file, read_lenscat
from etl.catalogs.published import PublishedRows
from etl.catalogs.tables import read_table
from etl.errors import CatalogFileError

COMMAND = "catalog load"
LENSCAT = "lenscat-"
_LOCK = 0x1E25_CA7A
"""Key of the advisory lock that loads take in turn."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadSummary:
    """What one load did, and what the ledger holds of its catalog afterwards.

    Attributes
    ----------
    catalog
        Catalog and version, or paper.
    n_rows
        Rows in the file.
    n_new_rows
        Rows that were not in the ledger; the next three split them.
    n_new, n_matched, n_ambiguous
        New rows that founded a lens; with one lens in reach; with several, of which the nearest was taken.
    n_ledger_rows, n_objects, n_tier_a, n_tier_b, n_no_claim, n_redshifts, n_grades
        In the ledger from this catalog: rows, objects (of them positives by tier, and without a lens claim),
        redshifts and grades.
    """

    catalog: str
    n_rows: int
    n_new_rows: int
    n_new: int
    n_matched: int
    n_ambiguous: int
    n_ledger_rows: int
    n_objects: int
    n_tier_a: int
    n_tier_b: int
    n_no_claim: int
    n_redshifts: int
    n_grades: int


def load_lenscat(engine: Engine) -> LoadSummary:
    """Load all rows of the installed lenscat.

    Raises
    ------
    CatalogFileError
        When lenscat is not installed, or is not the table that this code knows.
    """
    with recorded_run(engine, command=COMMAND, config={"table": None, "paper": None}):
        catalog, path = lenscat_file()
        published = read_lenscat(catalog, path)
        with engine.begin() as connection:
            return _load(connection, published)


def load_table(engine: Engine, path: Path, paper: str) -> LoadSummary:
    """Load one paper's table into the ledger that lenscat began.

    Raises
    ------
    CatalogFileError
        When the file is missing or is not a lens table, or the paper has no usable name; nothing is written.
    MissingInputError
        When lenscat has not been loaded: the table's rows would have nothing to match.
    """
    with recorded_run(engine, command=COMMAND, config={"table": str(path), "paper": paper}):
        paper = paper.strip()
        if not paper or not paper.isprintable() or paper.startswith(LENSCAT):
            raise CatalogFileError(f"paper {paper!r} cannot name a table; give its reference, such as arXiv:2508.20087")
        published = read_table(path, paper)
        with engine.begin() as connection:
            loaded = select(LensSource.source_id).where(LensSource.catalog.startswith(LENSCAT)).limit(1)
            if connection.scalar(loaded) is None:
                raise MissingInputError(
                    "the ledger of lenses is empty; run `stronglens catalog load` before loading a table"
                )
            return _load(connection, published)


def _load(connection: Connection, published: PublishedRows) -> LoadSummary:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    rows = published.rows
    here = select(LensSource.row_sha256).where(LensSource.catalog == published.catalog)
    is_new = ~rows["row_sha256"].isin(set(connection.scalars(here)))
    new = rows[is_new]
    statuses: pd.Series = pd.Series(dtype=str)
    if len(new):
        placed = add_lenses(connection, new)
        statuses = placed["match_status"]
        keys = add_sources(connection, published.catalog, placed)
        _add_grades(connection, placed, keys)
        _add_redshifts(connection, published.redshifts, placed, keys)
    log.info("%s: %d rows, %d of them new", published.catalog, len(rows), len(new))
    return LoadSummary(
        catalog=published.catalog,
        n_rows=len(rows),
        n_new_rows=len(new),
        n_new=int((statuses == "new").sum()),
        n_matched=int((statuses == "matched").sum()),
        n_ambiguous=int((statuses == "ambiguous").sum()),
        **_ledger_counts(connection, published.catalog),
    )


def _add_grades(connection: Connection, placed: pd.DataFrame, keys: pd.Series) -> None:
    graded = placed[placed["grade"].notna()]
    columns = graded[["lens_id", "paper", "grade", "score"]].assign(source_id=keys[graded.index])
    insert_columns(connection, LensGrade, columns)


def _add_redshifts(connection: Connection, redshifts: pd.DataFrame, placed: pd.DataFrame, keys: pd.Series) -> None:
    of_new = redshifts[redshifts["row"].isin(placed.index)]
    row = of_new["row"].to_numpy()
    columns = of_new.drop(columns="row").assign(
        source_id=keys[row].to_numpy(), lens_id=placed["lens_id"][row].to_numpy()
    )
    insert_columns(connection, LensRedshift, columns)


def _ledger_counts(connection: Connection, catalog: str) -> dict[str, int]:
    of_catalog = select(LensSource.source_id).where(LensSource.catalog == catalog)
    lens_ids = select(LensSource.lens_id).where(LensSource.catalog == catalog)
    lenses = connection.execute(
        select(
            func.count(),
            func.count().filter(Lens.tier == "A"),
            func.count().filter(Lens.tier == "B"),
            func.count().filter(~Lens.is_lens_claim),
        ).where(Lens.lens_id.in_(lens_ids))
    ).one()
    counts = dict(zip(("n_objects", "n_tier_a", "n_tier_b", "n_no_claim"), map(int, lenses), strict=True))
    for name, model in (("n_redshifts", LensRedshift), ("n_grades", LensGrade)):
        counts[name] = connection.scalar(select(func.count()).where(model.source_id.in_(of_catalog))) or 0
    counts["n_ledger_rows"] = connection.scalar(select(func.count()).where(LensSource.catalog == catalog)) or 0
    return counts
