"""The header of a sweep's binary table: where in a row each column lies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from astropy.io.fits import Header
from astropy.io.fits.verify import VerifyError

from etl.errors import SweepFileError
from etl.sweeps.blocks import BLOCK, read_exactly, read_header, skip_data
from etl.sweeps.columns import SweepColumn

_TFORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])")
_WIDTHS = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}


@dataclass(frozen=True)
class TableLayout:
    """A binary table: rows, the kept columns within a row as stored (big-endian), and the bytes behind the rows."""

    n_rows: int
    dtype: np.dtype[np.void]
    heap_bytes: int


@dataclass(frozen=True)
class _Field:
    number: int
    tform: str
    code: str
    n_elements: int
    offset: int


def find_table(stream: BinaryIO, columns: Sequence[SweepColumn]) -> TableLayout:
    """Read up to the data of the first binary table.

    Raises
    ------
    SweepFileError
        With the reason alone (the caller names the file): not FITS, no table, missing columns, unsupported formats.
    """
    header = _table_header(stream)
    try:
        row_bytes, n_rows, heap_bytes = int(header["NAXIS1"]), int(header["NAXIS2"]), int(header.get("PCOUNT", 0))
        if n_rows < 0 or heap_bytes < 0:
            raise ValueError(f"NAXIS2 = {n_rows}, PCOUNT = {heap_bytes}")  # noqa: TRY301 - one message for all
        fields = _fields(header)
    except (KeyError, TypeError, ValueError, VerifyError) as exc:
        raise SweepFileError(f"its table header is not valid FITS ({' '.join(str(exc).split())})") from exc
    end = max((field.offset + _n_bytes(field) for group in fields.values() for field in group), default=0)
    if end != row_bytes:
        raise SweepFileError(f"its columns are {end} bytes wide, its header says NAXIS1 = {row_bytes}")
    return TableLayout(n_rows, _kept_dtype(header, fields, columns, row_bytes), heap_bytes)


def _table_header(stream: BinaryIO) -> Header:
    block = read_exactly(stream, BLOCK)
    if not block:
        raise SweepFileError("is empty: it has 0 bytes")
    if not block.startswith(b"SIMPLE  ="):
        raise SweepFileError("is not a FITS file")
    header = read_header(stream, block)
    while str(header.get("XTENSION", "")).strip() != "BINTABLE":
        skip_data(stream, header)
        block = read_exactly(stream, BLOCK)
        if not block:
            raise SweepFileError("holds no binary table; expected a sweep or Tractor catalog")
        header = read_header(stream, block)
    return header


def _fields(header: Header) -> dict[str, list[_Field]]:
    """Columns by upper-case name; a list, since nothing forbids a name twice."""
    numbers = range(1, int(header["TFIELDS"]) + 1)
    forms: list[tuple[str, str, int]] = []
    for number in numbers:
        tform = str(header[f"TFORM{number}"]).strip()
        match = _TFORM.match(tform)
        if match is None:
            raise ValueError(f"TFORM{number} = {tform!r}")
        forms.append((tform, match[2], int(match[1] or 1)))
    widths = (-(-n // 8) if code == "X" else n * _WIDTHS[code] for _, code, n in forms)
    fields: dict[str, list[_Field]] = {}
    for number, form, offset in zip(numbers, forms, accumulate(widths, initial=0), strict=False):
        name = str(header.get(f"TTYPE{number}", "")).strip().upper()
        fields.setdefault(name, []).append(_Field(number, *form, offset))
    return fields


def _n_bytes(field: _Field) -> int:
    return -(-field.n_elements // 8) if field.code == "X" else field.n_elements * _WIDTHS[field.code]


def _kept_dtype(
    header: Header, fields: dict[str, list[_Field]], columns: Sequence[SweepColumn], row_bytes: int
) -> np.dtype[np.void]:
    missing = [column.name for column in columns if column.is_required and column.name not in fields]
    if missing:
        noun = "column" if len(missing) == 1 else "columns"
        raise SweepFileError(f"lacks {len(missing)} {noun}: {', '.join(missing)}")
    kept = [(column, fields[column.name]) for column in columns if column.name in fields]
    problems = [problem for column, found in kept for problem in _problems(header, column, found)]
    if problems:
        raise SweepFileError(f"has columns in a form that cannot be read: {'; '.join(problems)}")
    return np.dtype(
        {
            "names": [column.name for column, _ in kept],
            "formats": [_numpy_format(found[0]) for _, found in kept],
            "offsets": [found[0].offset for _, found in kept],
            "itemsize": row_bytes,
        }
    )


def _problems(header: Header, column: SweepColumn, found: list[_Field]) -> list[str]:
    if len(found) > 1:
        return [f"{column.name} is there {len(found)} times"]
    field = found[0]
    if field.code in "PQ":
        return [f"{column.name} has variable length ({field.tform})"]
    if field.code not in column.codes or (field.code != "A" and field.n_elements != 1) or not field.n_elements:
        expected = " or ".join(column.codes)
        return [f"{column.name} has format {field.tform}, expected {expected}"]
    if field.code == "A" and (field.tform[-1] != "A" or f"TDIM{field.number}" in header):
        return [f"{column.name} holds several texts a row ({field.tform}), expected one"]
    neutral = {"TSCAL": 1, "TZERO": 0, "TNULL": None}
    return [
        f"{column.name} has {key}{field.number} = {header[f'{key}{field.number}']}"
        for key, value in neutral.items()
        if header.get(f"{key}{field.number}", value) != value
    ]


def _numpy_format(field: _Field) -> str:
    if field.code == "A":
        return f"S{field.n_elements}"
    return {"L": "S1", "I": ">i2", "J": ">i4", "E": ">f4", "D": ">f8"}[field.code]
