"""An npy member's header, read so that threads may do it at once.

numpy reads a header through `ast.literal_eval`. Python before 3.11.9 and 3.12.3 counts the depth of that parser per
interpreter and not per thread: two headers read at once now and then fail with a SystemError, and a good file would
pass for a damaged one. So they are read one at a time; nearly all come from the cache.
"""

from __future__ import annotations

import io
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MAGIC = b"\x93NUMPY"
"""What every npy member begins with."""

_N_LENGTH_BYTES = {b"\1\0": 2, b"\2\0": 4}
_LONGEST_HEADER = 10_000
"""Bytes, as numpy's own limit: a longer one costs the parser more than any array of ours."""

_parser = Lock()


class Header(NamedTuple):
    """What an npy header says, and how many bytes it takes."""

    n_bytes: int
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    is_fortran: bool

    @property
    def n_values(self) -> int:
        """Number of values that follow."""
        return int(np.prod(self.shape, dtype=np.int64))

    def values(self, data: bytes, first: int) -> npt.NDArray[np.generic]:
        """Return the array whose values begin at byte `first`, as a view of `data` (read-only)."""
        flat = np.frombuffer(data, self.dtype, self.n_values, first)
        return flat.reshape(self.shape, order="F" if self.is_fortran else "C")


def header_of(data: bytes | memoryview) -> Header:
    """Read the header at the beginning of `data`.

    Raises
    ------
    ValueError
        When there is none, or a damaged one.
    """
    lead = bytes(data[:8])
    n_length_bytes = _N_LENGTH_BYTES.get(lead[6:8]) if lead[:6] == MAGIC else None
    if n_length_bytes is None:
        message = "no npy header of version 1 or 2"
        raise ValueError(message)
    first = len(lead) + n_length_bytes
    n_bytes = first + int.from_bytes(data[len(lead) : first], "little")
    if n_bytes > min(len(data), _LONGEST_HEADER):
        message = "a truncated npy header"
        raise ValueError(message)
    return _parsed(bytes(data[:n_bytes]))


def array_of(data: bytes) -> npt.NDArray[np.generic]:
    """Return the array of a whole npy member, as a view of its bytes (read-only).

    Raises
    ------
    ValueError
        When the header is damaged, holds objects, or does not fit the bytes behind it.
    """
    header = header_of(data)
    if header.dtype.hasobject:
        message = "pickled objects are not read"
        raise ValueError(message)
    if header.n_bytes + header.n_values * header.dtype.itemsize != len(data):
        message = f"{len(data) - header.n_bytes} bytes for {header.dtype} {header.shape}"
        raise ValueError(message)
    return header.values(data, header.n_bytes)


@lru_cache(maxsize=512)
def _parsed(header: bytes) -> Header:
    """Parse a header; all files have the same few."""
    source = io.BytesIO(header)
    with _parser:
        try:
            version = np.lib.format.read_magic(source)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = read(source)
        except Exception as exc:  # damaged headers make tokenize and the dtype parser raise whatever they like
            message = "a damaged npy header"
            raise ValueError(message) from exc
    return Header(len(header), dtype, shape, is_fortran)
