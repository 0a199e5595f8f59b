"""Rows of a sweep as they lie in its file: a column costs nothing until it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.sweeps.columns import SweepColumn


@dataclass(frozen=True)
class SweepRows:
    """Some rows of a sweep.

    Attributes
    ----------
    records
        Shape (rows,): whole rows as stored, of which the fields are the kept columns (big-endian).
    columns
        What each field is read as, by its upper-case FITS name.
    """

    records: NDArray[np.void]
    columns: Mapping[str, SweepColumn]

    @property
    def num_rows(self) -> int:
        """How many rows these are."""
        return len(self.records)

    def values(self, name: str) -> NDArray[Any]:
        """Return a column, shape (rows,), in native byte order; text as bytes without trailing blanks."""
        stored, numpy_type = self.records[name], self.columns[name].numpy_type
        if numpy_type is None:
            return np.strings.rstrip(stored)
        is_flag = numpy_type is np.bool_
        values: NDArray[Any] = stored == b"T" if is_flag else stored.astype(numpy_type)
        return values

    def column(self, name: str) -> pa.Array:
        """Return a column as `arrow` has it."""
        return arrow(self.values(name))

    def where(self, mask: NDArray[np.bool_]) -> SweepRows:
        """Return the rows that a mask of shape (rows,) chooses."""
        return self if mask.all() else SweepRows(self.records[mask], self.columns)


def arrow(values: NDArray[Any]) -> pa.Array:
    """Return contiguous values, shape (rows,), as an Arrow array; text as binary of fixed width, padded with NUL.

    `pyarrow.array` would do the same, but imports pandas for it: 40 MB and half a second in every worker.
    """
    if values.dtype.kind == "b":
        arrow_type, stored = pa.bool_(), np.packbits(values, bitorder="little")
    else:
        is_text = values.dtype.kind == "S"
        arrow_type = pa.binary(values.dtype.itemsize) if is_text else pa.from_numpy_dtype(values.dtype)
        stored = values
    return pa.Array.from_buffers(arrow_type, len(values), [None, pa.py_buffer(stored)])
