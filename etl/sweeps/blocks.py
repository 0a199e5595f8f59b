"""FITS files as runs of blocks: headers, the data behind them, and what may follow a table."""

from __future__ import annotations

import math
from typing import BinaryIO

from astropy.io.fits import Header
from astropy.io.fits.verify import VerifyError

from etl.errors import SweepFileError

BLOCK = 2880
"""FITS files come in blocks of this many bytes (FITS standard 4.0, section 3.1)."""

_MAX_HEADER_BLOCKS = 4096
_END = b"END" + b" " * 77
_PIECE = 1 << 20


def read_exactly(stream: BinaryIO, n_bytes: int) -> bytes:
    """Read `n_bytes`, or fewer where the stream ends."""
    whole = stream.read(n_bytes)
    if len(whole) == n_bytes:
        return whole
    parts = [whole]
    n_left = n_bytes - len(whole)
    while n_left and (part := stream.read(n_left)):
        parts.append(part)
        n_left -= len(part)
    return b"".join(parts)


def read_header(stream: BinaryIO, first_block: bytes) -> Header:
    """Read the rest of a header whose first block was read.

    Raises
    ------
    SweepFileError
        When the file ends before the header does, or the header has no END or is not FITS.
    """
    blocks = [first_block]
    while len(blocks[-1]) == BLOCK and not _has_end(blocks[-1]):
        if len(blocks) == _MAX_HEADER_BLOCKS:
            raise SweepFileError("has a header without END")
        blocks.append(read_exactly(stream, BLOCK))
    if len(blocks[-1]) < BLOCK:
        raise SweepFileError("is truncated within a header")
    try:
        return Header.fromstring(b"".join(blocks))
    except (ValueError, VerifyError) as exc:
        raise SweepFileError(f"has an unreadable header ({' '.join(str(exc).split())})") from exc


def skip_data(stream: BinaryIO, header: Header) -> None:
    """Read past the data that a header declares, padding included.

    Raises
    ------
    SweepFileError
        When the file ends before, or the header does not say how many there are.
    """
    try:
        axes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header.get("NAXIS", 0)) + 1)]
        n_elements = int(header.get("PCOUNT", 0)) + math.prod(axes) if axes else 0
        n_bytes = abs(int(header["BITPIX"])) // 8 * int(header.get("GCOUNT", 1)) * n_elements
    except (KeyError, TypeError, ValueError, VerifyError) as exc:
        raise SweepFileError(f"has an unreadable header ({' '.join(str(exc).split())})") from exc
    if n_bytes < 0:
        raise SweepFileError(f"has an unreadable header (it declares {n_bytes} bytes of data)")
    n_padded = n_bytes + -n_bytes % BLOCK
    n_found = _skip(stream, n_padded)
    if n_found < n_padded:
        raise SweepFileError(f"is truncated: a header says {n_bytes} bytes of data, {n_found} follow")


def check_end(stream: BinaryIO, n_rows: int, row_bytes: int, heap_bytes: int) -> None:
    """Read from behind a table's last row to the end of the file.

    Only the table's heap, zeros up to a whole block, and further HDUs may be there (FITS standard 4.0, section 3.3.2
    and 7.3.3); anything else is more rows than the header says.

    Raises
    ------
    SweepFileError
        When something else is there, or the file ends before a whole block.
    """
    n_padding = -(n_rows * row_bytes + heap_bytes) % BLOCK
    n_found = _skip(stream, heap_bytes)
    padding = read_exactly(stream, n_padding)
    if n_found < heap_bytes or len(padding) < n_padding:
        raise SweepFileError(f"is truncated: it ends within a block, after the {n_rows} rows that its header says")
    block = read_exactly(stream, BLOCK)
    if any(padding) or not block.startswith(b"XTENSION"[: len(block)]):
        n_more = len(padding) + len(block)
        while part := stream.read(_PIECE):
            n_more += len(part)
        raise SweepFileError(
            f"goes on after the {n_rows} rows that its header says: "
            f"{n_more} more bytes, enough for {n_more // row_bytes} more rows"
        )
    while block:
        skip_data(stream, read_header(stream, block))
        block = read_exactly(stream, BLOCK)


def _has_end(block: bytes) -> bool:
    return any(block[start : start + 80] == _END for start in range(0, BLOCK, 80))


def _skip(stream: BinaryIO, n_bytes: int) -> int:
    n_done = 0
    while n_done < n_bytes and (part := stream.read(min(n_bytes - n_done, _PIECE))):
        n_done += len(part)
    return n_done
