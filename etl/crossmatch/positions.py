"""Positions out of a CSV, FITS or VOTable file, from the columns that are named or that have a usual name."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from etl.crossmatch.errors import CrossmatchError

FORMATS = {
    ".csv": "ascii.csv",
    ".fits": "fits",
    ".fit": "fits",
    ".fits.gz": "fits",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
}
"""Endings of the names of files that can be read, and astropy's name of the format."""

USUAL_NAMES = (
    ("ra", "dec"),
    ("ra_deg", "dec_deg"),
    ("radeg", "decdeg"),
    ("radeg", "dedeg"),
    ("raj2000", "dej2000"),
    ("raj2000", "decj2000"),
    ("_raj2000", "_dej2000"),
    ("ra_j2000", "dec_j2000"),
    ("alpha_j2000", "delta_j2000"),
    ("ra_icrs", "de_icrs"),
    ("ra_icrs", "dec_icrs"),
    ("target_ra", "target_dec"),
    ("right_ascension", "declination"),
)
"""Pairs of column names, in lower case, in the order in which they are looked for."""


# What astropy and the decoders below it raise of a damaged file; zlib.error is no OSError.
_UNREADABLE = (OSError, ValueError, TypeError, IndexError, KeyError, SyntaxError, EOFError, ExpatError, zlib.error)


@dataclass(frozen=True)
class Positions:
    """Right ascension and declination, ICRS degrees, in the order of the file's rows; arrays of shape (n,)."""

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]


def read_positions(path: Path, ra: str | None = None, dec: str | None = None) -> Positions:
    """Read the positions of every row; `ra` and `dec` name their columns.

    Raises
    ------
    CrossmatchError
        When the file is missing, of no known format or unreadable, a column is missing or does not hold degrees, or a
        row has no position on the sky.
    """
    table = _read(path, FORMATS[ending(path, FORMATS)])
    ra_name, dec_name = _columns(path, table, ra, dec)
    positions = Positions(_degrees(path, table, ra_name), _degrees(path, table, dec_name))
    with np.errstate(invalid="ignore"):
        _refuse(path, ra_name, positions.ra, ~((positions.ra >= 0) & (positions.ra < 360)), "[0, 360)")
        _refuse(path, dec_name, positions.dec, ~(np.abs(positions.dec) <= 90), "[-90, 90]")
    return positions


def ending(path: Path, known: dict[str, str]) -> str:
    """Return the ending of a file's name that says its format.

    Raises
    ------
    CrossmatchError
        When it says none of those that are known.
    """
    for found in sorted(known, key=len, reverse=True):
        if path.name.lower().endswith(found):
            return found
    raise CrossmatchError(f"{path}: its name tells no format, expected one of {', '.join(known)}")


def _read(path: Path, format_: str) -> Table:
    if not path.is_file():
        raise CrossmatchError(f"{path}: there is no such file")
    # NaN is to be named as such, not as a missing value.
    options = {"mask_invalid": False} if format_ == "fits" else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            return Table.read(path, format=format_, **options)
    except _UNREADABLE as exc:
        raise CrossmatchError(f"{path}: cannot be read as {format_}: {' '.join(str(exc).split())[:200]}") from exc


def _columns(path: Path, table: Table, ra: str | None, dec: str | None) -> tuple[str, str]:
    """Return the names of both columns as the file writes them."""
    names = {name.lower(): name for name in reversed(table.colnames)}
    if not names:
        raise CrossmatchError(f"{path}: it has no columns")
    there = f"its columns are {', '.join(table.colnames[:20])}{', ...' if len(table.colnames) > 20 else ''}"
    if ra is not None or dec is not None:
        if ra is None or dec is None:
            raise CrossmatchError(f"{path}: --ra and --dec belong together; {there}")
        for name in (ra, dec):
            if name not in table.colnames:
                raise CrossmatchError(f"{path}: has no column {name}; {there}")
        return ra, dec
    for pair in USUAL_NAMES:
        if all(name in names for name in pair):
            return names[pair[0]], names[pair[1]]
    raise CrossmatchError(f"{path}: no columns look like ra and dec, name them with --ra and --dec; {there}")


def _degrees(path: Path, table: Table, name: str) -> NDArray[np.float64]:
    """Return a column as float64; a missing value is NaN."""
    column = table[name]
    if column.dtype.kind not in "fiu" and len(table):
        raise CrossmatchError(f"{path}: column {name} does not hold numbers (first {column[0]!s}), expected degrees")
    if column.ndim != 1:
        raise CrossmatchError(f"{path}: column {name} holds {column.shape[1:]} values a row, expected one")
    if column.unit is not None and str(column.unit).lower() not in {"deg", "degree", "degrees"}:
        raise CrossmatchError(f"{path}: column {name} is in {column.unit}, expected degrees")
    values = np.ma.masked_array(column if len(table) else [], dtype=np.float64)
    return np.ma.filled(values, np.nan)


def _refuse(path: Path, name: str, values: NDArray[np.float64], is_bad: NDArray[np.bool_], expected: str) -> None:
    bad = np.flatnonzero(is_bad)
    if len(bad):
        more = f" ({len(bad):,} such rows)" if len(bad) > 1 else ""
        raise CrossmatchError(
            f"{path}: row {bad[0] + 1}: {name} is {values[bad[0]]}, expected degrees in {expected}{more}"
        )
