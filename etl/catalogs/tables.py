"""Published tables of lens candidates, recognised by their columns.

A table has ``ra`` and ``dec`` in degrees (in any case) and either a grade, or the columns of a list of known
lenses without grades (`UNGRADED`). Everything else is optional; columns without a role stay in the verbatim row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from etl.catalogs.discovery import DISCOVERIES
from etl.catalogs.published import (
    REDSHIFT_COLUMNS,
    PublishedRows,
    json_bodies,
    object_names,
    position_names,
    row_sha256,
)
from etl.catalogs.text_table import degrees, numbers, read_text_table, require
from etl.errors import CatalogFileError

NAME = ("name",)
GRADE = ("grade", "grading")
SCORE = ("score", "probability", "p_meta")
"""Graders' score where there is one, else the probability of the network (of several: the one that decides)."""
SPECTROSCOPIC_Z = ("spec_z", "z_spec")
PHOTOMETRIC_Z = ("photo_z", "z_phot_mean")
PHOTOMETRIC_Z_BOUNDS = ("z_phot_l68", "z_phot_u68")
UNSTATED_Z = ("zlens",)
UNGRADED = ("source_type", "z_spec", "z_phot_mean")


def read_table(path: Path, paper: str) -> PublishedRows:
    """Read every row of one paper's table.

    Raises
    ------
    CatalogFileError
        When the file is missing or unreadable, its columns are not those of a lens table, a number does not
        parse, or a position or redshift is out of range.
    """
    published = read_text_table(path)
    column = {name.lower(): name for name in published.columns}
    _recognise(path, column)
    ra, dec = degrees(path, published, column["ra"], column["dec"])
    name_column, grade_column, score_column = (_first(column, role) for role in (NAME, GRADE, SCORE))
    name = published[name_column].str.strip() if name_column else pd.Series("", index=published.index)
    grade = published[grade_column].str.strip() if grade_column else pd.Series("", index=published.index)
    score = numbers(path, published, score_column) if score_column else pd.Series(np.nan, index=published.index)
    rows = pd.DataFrame(
        {
            "row_sha256": row_sha256(published),
            "body": json_bodies(published),
            "name": name,
            "object_name": object_names(name).where(name != "", position_names(ra, dec)),
            "ra": ra,
            "dec": dec,
            "lens_type": "unknown",
            "is_lens_claim": True,
            "discovery_rank": np.int8(DISCOVERIES.index("ground_imaging")),
            "tier": None,
            "paper": paper,
            "grade": grade.where(grade != ""),
            "score": score,
        }
    )
    return PublishedRows(paper, rows, _redshifts(path, published, column, paper))


def _recognise(path: Path, column: dict[str, str]) -> None:
    missing = [name for name in ("ra", "dec") if name not in column]
    if not _first(column, GRADE) and any(name not in column for name in UNGRADED):
        missing.append(f"grade (or {', '.join(UNGRADED)})")
    if missing:
        raise CatalogFileError(
            f"{path}: is not a lens table: it lacks {' and '.join(missing)}; its columns are "
            f"{', '.join(column.values())}"
        )


def _first(column: dict[str, str], role: tuple[str, ...]) -> str | None:
    return next((column[name] for name in role if name in column), None)


def _redshifts(path: Path, published: pd.DataFrame, column: dict[str, str], paper: str) -> pd.DataFrame:
    frames = []
    for method, role in (("spec", SPECTROSCOPIC_Z), ("phot", PHOTOMETRIC_Z), ("unknown", UNSTATED_Z)):
        name = _first(column, role)
        if name is None:
            continue
        z, z_error = _with_errors(path, published, name)
        low, high = (column.get(bound) for bound in PHOTOMETRIC_Z_BOUNDS)
        if method == "phot" and low and high:
            # The bounds enclose 68 %, which is one sigma on either side.
            z_error = (numbers(path, published, high) - numbers(path, published, low)).abs() / 2
        require(path, published[name], z.isna() | ((z > -0.01) & (z < 20)), "is not a redshift")
        frame = pd.DataFrame({"row": published.index, "z": z, "z_error": z_error, "method": method})
        frames.append(frame.assign(reference=paper)[z.notna()])
    if not frames:
        return pd.DataFrame(columns=list(REDSHIFT_COLUMNS))
    return pd.concat(frames, ignore_index=True)[list(REDSHIFT_COLUMNS)]


def _with_errors(path: Path, published: pd.DataFrame, name: str) -> tuple[pd.Series, pd.Series]:
    """Value and 1-sigma error of texts such as ``0.406+/-0.021`` or ``0.406``."""
    parts = published[name].str.split("+/-", n=1, regex=False, expand=True).reindex(columns=[0, 1]).fillna("")
    parts.columns = pd.Index([name, f"error of {name}"])
    return numbers(path, parts, name), numbers(path, parts, f"error of {name}")
