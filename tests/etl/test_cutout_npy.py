"""npy members, against numpy's own writer and reader."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from etl.cutouts import npy
from etl.cutouts.npy import array_of, header_of

ARRAYS = [
    np.arange(24, dtype=">f4").reshape(2, 3, 4),
    np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    np.array("north\u00e9"),
    np.array(True),
    np.zeros((0, 3)),
]


def bytes_of(array: np.ndarray[Any, Any], version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version)
    return out.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back_as_numpy_wrote_them(array: np.ndarray[Any, Any], version: tuple[int, int]) -> None:
    found = array_of(bytes_of(array, version))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no npy header"),
        (b"\x93NUMPY\3\0" + bytes(200), "no npy header of version 1 or 2"),
        (bytes_of(np.arange(3))[:40], "truncated"),
        (bytes_of(np.arange(3)).replace(b"descr", b"d[scr"), "damaged"),
        (bytes_of(np.arange(3)).replace(b"'descr'", b"'de\0cr'"), "damaged"),
        (bytes_of(np.arange(3))[:-1], "23 bytes for int64"),
        (bytes_of(np.arange(3)) + b"x", "25 bytes for int64"),
        (bytes_of(np.array([{}], dtype=object)), "pickled"),
    ],
)
def test_damage_is_a_value_error(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        array_of(data)


def test_headers_are_parsed_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.7 failed on two at once with "AST constructor recursion depth mismatch"."""
    read, busy, most = np.lib.format.read_array_header_1_0, [0], [0]

    def slow(source: io.BytesIO) -> Any:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.01)
        busy[0] -= 1
        return read(source)

    monkeypatch.setattr(np.lib.format, "read_array_header_1_0", slow)
    npy._parsed.cache_clear()
    members = [bytes_of(np.zeros(n_values)) for n_values in range(16)]
    with ThreadPoolExecutor(8) as threads:
        shapes = [header.shape for header in threads.map(header_of, members)]
    assert shapes == [(n_values,) for n_values in range(16)]
    assert most == [1]
