"""Delimited text files, every cell as published, and the numbers in them."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pandas as pd

from etl.errors import CatalogFileError


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a CSV or TSV file with a header line; the columns are texts, stripped of nothing.

    Raises
    ------
    CatalogFileError
        When the file is missing, unreadable, empty, not text, or has rows of another width than its header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            lines = [line for line in csv.reader(file, delimiter=delimiter, strict=True) if line]
    except OSError as exc:
        reason = os.strerror(exc.errno or 0)
        raise CatalogFileError(f"{path}: cannot be read ({reason}); give a CSV or TSV file") from exc
    except (UnicodeDecodeError, csv.Error) as exc:
        raise CatalogFileError(f"{path}: is not CSV or TSV text ({exc}); give the published table") from exc
    if len(lines) < 2:
        raise CatalogFileError(f"{path}: holds no rows; give a CSV or TSV file with a header line")
    header = [column.strip() for column in lines[0]]
    if len({column.lower() for column in header}) < len(header):
        raise CatalogFileError(f"{path}: a column name repeats in {', '.join(header)}; make them distinct")
    widths = np.fromiter(map(len, lines), np.int64, len(lines))
    odd = np.flatnonzero(widths != len(header))
    if odd.size:
        raise CatalogFileError(
            f"{path}: data row {odd[0]} has {widths[odd[0]]} columns, the header has {len(header)}; mend the row"
        )
    table = pd.DataFrame(lines[1:], columns=header, dtype=str)
    if any("\0" in column or table[column].str.contains("\0", regex=False).any() for column in header):
        raise CatalogFileError(f"{path}: holds NUL characters; give the table as text")
    return table


def degrees(path: Path, table: pd.DataFrame, ra: str, dec: str) -> tuple[pd.Series, pd.Series]:
    """Right ascension in [0, 360) and declination in [-90, 90] from two columns of text.

    Raises
    ------
    CatalogFileError
        When a position is missing, not decimal degrees, or outside the sky.
    """
    ra_deg = numbers(path, table, ra, required=True)
    dec_deg = numbers(path, table, dec, required=True)
    require(path, table[ra], ra_deg.between(0, 360), "is not in 0 to 360 degrees")
    require(path, table[dec], dec_deg.between(-90, 90), "is not in -90 to 90 degrees")
    return ra_deg % 360.0, dec_deg


def numbers(path: Path, table: pd.DataFrame, column: str, *, required: bool = False) -> pd.Series:
    """Give a column of text as float64; blank, ``-``, ``nan``, ``none`` and -99 are NaN.

    Raises
    ------
    CatalogFileError
        When a cell is no number, is infinite, or is blank though required.
    """
    text = table[column].str.strip()
    blank = text.str.lower().isin(("", "-", "nan", "none", "null"))
    value = pd.to_numeric(text.mask(blank), errors="coerce").astype(float)
    require(path, text, blank | np.isfinite(value), "is not a number")
    if required:
        require(path, text, ~blank, "is missing")
        return value
    return value.mask(value == -99)


def require(path: Path, text: pd.Series, holds: pd.Series, complaint: str) -> None:
    """Refuse the file at the first cell for which ``holds`` is false.

    Raises
    ------
    CatalogFileError
        Naming file, data row (from 1), column and value.
    """
    wrong = np.flatnonzero(~holds.to_numpy())
    if wrong.size:
        first = int(wrong[0])
        others = f" (and {wrong.size - 1} more rows)" if wrong.size > 1 else ""
        raise CatalogFileError(
            f"{path}: data row {first + 1}: {text.name} {text.iloc[first]!r} {complaint}{others}; nothing was loaded"
        )
