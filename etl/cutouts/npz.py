"""The bytes of an npz file of one image and some scalars, as `zipfile` and `numpy.save` would write them, but faster.

A cutout has some forty members, nearly all of them scalars, and `zipfile` spends more on each than it is worth.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scalar = str | int | float | bool

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHI")
_OFFSET = struct.Struct("<I")
_END = struct.Struct("<4sHHHHIIH")
_VERSION = 20
_MADE_BY_UNIX = 3 << 8 | _VERSION
_DATE = (1980 - 1980) << 9 | 1 << 5 | 1
"""The earliest date that an archive can state: the same content gives the same bytes."""
_MODE = 0o600 << 16
_FLOAT, _INT = struct.Struct("<d"), struct.Struct("<q")


def npz_bytes(image: tuple[str, npt.NDArray[np.generic]], scalars: Mapping[str, Scalar]) -> bytes:
    """Return an uncompressed npz file.

    Parameters
    ----------
    image
        Name and pixels of the first member.
    scalars
        Name and value of the others, in their order.
    """
    name, pixels = image
    pixels = np.ascontiguousarray(pixels)
    body = pixels.reshape(-1).view(np.uint8).data
    first = _member(name, _npy_header(pixels.dtype.str, pixels.shape), body)
    members = [first, *(_of_scalar(key, value) for key, value in scalars.items())]
    parts: list[bytes | memoryview] = []
    directory: list[bytes] = []
    offset = 0
    for member in members:
        parts += (member.head, member.body)
        directory += (member.entry, _OFFSET.pack(offset), member.name)
        offset += len(member.head) + len(member.body)
    listed = b"".join(directory)
    n_members = len(members)
    end = _END.pack(b"PK\5\6", 0, 0, n_members, n_members, len(listed), offset, 0)
    return b"".join((*parts, listed, end))


class _Member(NamedTuple):
    """What a member takes: its bytes in the file, and its line of the directory but for where they begin."""

    name: bytes
    head: bytes
    body: bytes | memoryview
    entry: bytes


def _member(name: str, head: bytes, body: bytes | memoryview) -> _Member:
    file_name = f"{name}.npy".encode("ascii")
    checksum, n_bytes = zlib.crc32(body, zlib.crc32(head)), len(head) + len(body)
    about = (_VERSION, 0, 0, 0, _DATE, checksum, n_bytes, n_bytes, len(file_name), 0)
    entry = _CENTRAL.pack(b"PK\1\2", _MADE_BY_UNIX, *about, 0, 0, 0, _MODE)
    return _Member(file_name, _LOCAL.pack(b"PK\3\4", *about) + file_name + head, body, entry)


def _of_scalar(name: str, value: Scalar) -> _Member:
    """Make the member of one value; floats are not remembered, since 0.0 and -0.0 count as the same key."""
    return _member(name, _npy_of(value), b"") if isinstance(value, float) else _remembered(name, value)


@lru_cache(maxsize=1024, typed=True)
def _remembered(name: str, value: Scalar) -> _Member:
    """Make a member that the next cutout has again, as most of those that are no measurements."""
    return _member(name, _npy_of(value), b"")


def _npy_of(value: Scalar) -> bytes:
    """Return one value as numpy.save writes it; bool before int, since it is one."""
    if isinstance(value, bool):
        return _npy_header("|b1", ()) + (b"\1" if value else b"\0")
    if isinstance(value, float):
        return _npy_header("<f8", ()) + _FLOAT.pack(value)
    if isinstance(value, int):
        return _npy_header("<i8", ()) + _INT.pack(value)
    array = np.asarray(value)
    return _npy_header(array.dtype.str, ()) + array.tobytes()


@lru_cache(maxsize=256)
def _npy_header(descr: str, shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False, "shape": shape})
    return out.getvalue()
