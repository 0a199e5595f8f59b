"""A cutout's npz file taken apart by its own directory, as fast as it can be read.

zipfile and numpy spend most of their time on the scalars around the pixels, which a validation of half a million files
does not want. Only the plain layout is understood: members stored as they are, values in C order. Anything
else gives None, and is a matter for `etl.cutouts.files`, which says what is wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from etl.cutouts.files import META_PREFIX
from etl.cutouts.npy import Header, header_of

Array = npt.NDArray[np.generic]

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_META = META_PREFIX.encode()


def stored_arrays(data: bytes, names: Collection[str]) -> Mapping[str, Array] | None:
    """Return those of the named arrays that an npz file holds, as views of its bytes; None if its layout is not plain.

    A file with pickled objects anywhere in it is not plain. Checksums are not looked at: whoever reads like this
    compares the SHA-256 of all bytes.
    """
    try:
        return _arrays(data, {f"{name}.npy".encode() for name in names})
    except Exception:  # noqa: BLE001 - damaged headers make numpy and tokenize raise whatever they like
        return None


def _arrays(data: bytes, wanted: Collection[bytes]) -> dict[str, Array] | None:
    start = len(data) - _END.size
    end = _END.unpack_from(data, max(start, 0))
    if end[0] != b"PK\x05\x06" or end[7] != 0:
        return None
    place, arrays, seen = end[6], {}, set()
    for _ in range(end[4]):
        entry = _ENTRY.unpack_from(data, place)
        first = place + _ENTRY.size
        name = data[first : first + entry[10]]
        if entry[0] != b"PK\x01\x02" or entry[3] & 1 or entry[4] != 0 or entry[8] != entry[9] or name in seen:
            return None
        values, header = _member(data, entry[16], entry[9])
        if name in wanted:
            arrays[name[:-4].decode()] = header.values(data, values)
        elif not name.startswith(_META):
            return None
        seen.add(name)
        place = first + entry[10] + entry[11] + entry[12]
    return arrays if place == start else None


def _member(data: bytes, place: int, n_bytes: int) -> tuple[int, Header]:
    """Find an array's values: where they begin, and what they are."""
    local = _LOCAL.unpack_from(data, place)
    first = place + _LOCAL.size + local[9] + local[10]
    header = header_of(memoryview(data)[first : first + n_bytes])
    values = first + header.n_bytes
    if local[0] != b"PK\x03\x04" or values + header.n_values * header.dtype.itemsize != first + n_bytes:
        message = "not where its directory says"
        raise ValueError(message)
    if header.is_fortran or header.dtype.hasobject:
        message = "not plain values in C order"
        raise ValueError(message)
    return values, header
