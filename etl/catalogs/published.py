"""Published rows in one shape, whatever file they come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

_SEPARATOR = "\x1f"

ROW_COLUMNS = (
    "row_sha256",
    "body",
    "name",
    "object_name",
    "ra",
    "dec",
    "lens_type",
    "is_lens_claim",
    "discovery_rank",
    "tier",
    "paper",
    "grade",
    "score",
)
REDSHIFT_COLUMNS = ("row", "z", "z_error", "method", "reference")


@dataclass(frozen=True)
class PublishedRows:
    """All rows of one published catalog.

    Attributes
    ----------
    catalog
        Its name in the ledger: catalog and version, or paper.
    rows
        One published row each, in the order of the file, with `ROW_COLUMNS`: positions in degrees, ``grade``
        None where the row grades nothing, ``score`` NaN where it gives none.
    redshifts
        One redshift each, with `REDSHIFT_COLUMNS`; ``row`` counts rows from 0, ``z_error`` may be NaN.
    """

    catalog: str
    rows: pd.DataFrame
    redshifts: pd.DataFrame


def row_sha256(published: pd.DataFrame) -> list[str]:
    """SHA-256 of each row's texts; the second and later copies of a row count into theirs (n hexadecimals).

    A digest has no vectorised form, so this is the one place that visits the rows one by one.
    """
    first, *others = (published[column] for column in published.columns)
    text = first.str.cat(others, sep=_SEPARATOR) if others else first
    repeat = text.groupby(text).cumcount()
    text = text.where(repeat == 0, text + _SEPARATOR + repeat.astype(str))
    return [hashlib.sha256(value.encode()).hexdigest() for value in text]


def json_bodies(published: pd.DataFrame) -> list[str]:
    """Each row as one JSON object of texts, keys as the file spells them (n strings)."""
    lines = published.to_json(orient="records", lines=True, force_ascii=True)
    return str(lines).splitlines()


def object_names(names: pd.Series) -> pd.Series:
    """The name that an object goes by: its first DESI token, else the first of its names, else all of it.

    One published DESI name has a single digit of degrees (``DESI-186.4028-7.4188``) and is kept as it is.
    """
    desi = names.str.extract(r"(DESI-\d{3}\.\d{4}[+-]\d{1,2}\.\d{4})", expand=False)
    first = names.str.split("|", n=1, regex=False).str[0].str.strip()
    return desi.fillna(first.where(first != "", names.str.strip()))


def position_names(ra: pd.Series, dec: pd.Series) -> pd.Series:
    """``Jhhmmss.ss+ddmmss.s`` of positions in degrees, truncated as IAU names are."""
    # The nudge undoes the rounding of a decimal that is exact in the name's last digit.
    centiseconds = np.floor(ra.to_numpy() * 24000 + 1e-6).astype(np.int64)
    deciseconds = np.floor(np.abs(dec.to_numpy()) * 36000 + 1e-6).astype(np.int64)
    sign = pd.Series(np.where(dec.to_numpy() < 0, "-", "+"), index=ra.index)
    return "J" + _sexagesimal(centiseconds, 100, ra.index) + sign + _sexagesimal(deciseconds, 10, ra.index)


def _sexagesimal(count: np.ndarray, per_second: int, index: pd.Index) -> pd.Series:
    seconds, fraction = np.divmod(count, per_second)
    minutes, seconds = np.divmod(seconds, 60)
    whole, minutes = np.divmod(minutes, 60)
    parts = [pd.Series(part, index=index).astype(str).str.zfill(2) for part in (whole, minutes, seconds)]
    digits = len(str(per_second)) - 1
    return parts[0] + parts[1] + parts[2] + "." + pd.Series(fraction, index=index).astype(str).str.zfill(digits)
