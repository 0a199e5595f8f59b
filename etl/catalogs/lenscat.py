"""lenscat: the community's compilation of lenses and lens candidates.

Only its data file is read. The package is not imported: that takes seconds and needs libraries we do without.
"""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pandas as pd

from etl.catalogs.discovery import discovery_rank
from etl.catalogs.published import REDSHIFT_COLUMNS, PublishedRows, json_bodies, object_names, row_sha256
from etl.catalogs.text_table import degrees, read_text_table
from etl.errors import CatalogFileError

COLUMNS = ("name", "RA [deg]", "DEC [deg]", "zlens", "type", "grading", "ref")
POSITIVE_MARK = "DESI-"
"""Rows whose name contains this are the DESI imaging candidates; their place in the name and their refs vary."""
TIERS = {"confident": "A", "probable": "B"}
NO_CLAIM_REFERENCE = "Lopes et al. (2004)"
"""An optical cluster survey: lenscat grades its detections 'probable', but nothing in it claims that they lens."""


def lenscat_file() -> tuple[str, Path]:
    """Find the installed data file: catalog name with version, and path.

    Raises
    ------
    CatalogFileError
        When lenscat is not installed or lacks its data file.
    """
    try:
        installed: Distribution = distribution("lenscat")
    except PackageNotFoundError as exc:
        raise CatalogFileError(
            "lenscat is not installed: run `make setup` or `pip install --no-deps lenscat==1.1.3`"
        ) from exc
    path = Path(str(installed.locate_file("lenscat/data/catalog.csv")))
    if not path.is_file():
        raise CatalogFileError(f"{path}: lenscat {installed.version} lacks its data file; install it again")
    return f"lenscat-{installed.version}", path


def read_lenscat(catalog: str, path: Path) -> PublishedRows:
    """Read every row of lenscat's data file.

    Raises
    ------
    CatalogFileError
        When the file is not the table that this code knows.
    """
    published = read_text_table(path)
    if tuple(published.columns) != COLUMNS:
        found, expected = ", ".join(published.columns), ", ".join(COLUMNS)
        raise CatalogFileError(f"{path}: its columns are {found}; expected {expected} (lenscat 1.1.3)")
    ra, dec = degrees(path, published, "RA [deg]", "DEC [deg]")
    name, grading, reference = published["name"], published["grading"], published["ref"]
    is_claim = ~reference.str.contains(NO_CLAIM_REFERENCE, regex=False)
    rows = pd.DataFrame(
        {
            "row_sha256": row_sha256(published),
            "body": json_bodies(published),
            "name": name,
            "object_name": object_names(name),
            "ra": ra,
            "dec": dec,
            "lens_type": published["type"],
            "is_lens_claim": is_claim,
            "discovery_rank": discovery_rank(reference),
            "tier": grading.map(TIERS).where(name.str.contains(POSITIVE_MARK, regex=False)),
            "paper": reference,
            "grade": grading.where(is_claim & (grading != "")),
            "score": np.nan,
        }
    )
    return PublishedRows(catalog, rows, _redshifts(published["zlens"], reference))


def _redshifts(zlens: pd.Series, reference: pd.Series) -> pd.DataFrame:
    """First numeric token of each text such as ``nan | 0.64``; texts such as ``0.4?`` or ``measured`` are none."""
    first = zlens.str.extract(r"(?:^|\|)\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:\||$)", expand=False).dropna()
    return pd.DataFrame(
        {
            "row": first.index,
            "z": first.astype(float),
            "z_error": np.nan,
            "method": "unknown",
            "reference": reference[first.index],
        },
        columns=list(REDSHIFT_COLUMNS),
    ).reset_index(drop=True)
