"""The survey's grid of bricks: 0.25 degree patches that tile the sky, each with a number and a name.

Rows of declination are centred on multiples of 0.25 degrees. A row is cut into an even number of bricks, so many that
none is wider than 0.25 degrees where the row is widest; the rows at the poles are one brick each. Numbers count from 1,
from the south pole up and from RA 0 eastwards. A name is the centre's RA and Dec in tenths of a degree, cut off.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

BRICK_DEG = 0.25
N_ROWS = 721
N_BRICKS = 662_174

_POLE_DEG = 90.0
_NAME_LENGTH = 8  # RRRRsDDD


def brick_of(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Return the number of the brick that each position lies in.

    Parameters
    ----------
    ra, dec
        Degrees, ra in [0, 360), dec in [-90, 90]; shape (n,). A position on an edge belongs to the higher brick.
    """
    ra_, dec_ = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    row = np.clip(np.floor((dec_ + _POLE_DEG) / BRICK_DEG + 0.5).astype(np.int64), 0, N_ROWS - 1)
    n_columns, first = _rows()
    column = np.minimum((ra_ / 360 * n_columns[row]).astype(np.int64), n_columns[row] - 1)
    return first[row] + column


def centre_of(brickid: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ra and dec of the centres of bricks, degrees; numbers are 1 to `N_BRICKS`, shape (n,)."""
    row, column, n_columns = _place(brickid)
    return (column + 0.5) * 360 / n_columns, np.asarray(row * BRICK_DEG - _POLE_DEG, dtype=np.float64)


def name_of(brickid: ArrayLike) -> NDArray[np.str_]:
    """Return the names of bricks, such as ``0001m040``; shape (n,)."""
    ra, dec = centre_of(brickid)
    # Rounding first: a centre such as 1.3 degrees may be stored a hair below.
    tenths_ra = np.floor(np.round(ra * 10, 6)).astype(np.int64)
    tenths_dec = np.floor(np.round(np.abs(dec) * 10, 6)).astype(np.int64)
    sign = np.where(dec < 0, "m", "p")
    return np.char.add(np.char.add(_digits(tenths_ra, 4), sign), _digits(tenths_dec, 3))


def brick_of_name(brickname: ArrayLike) -> NDArray[np.int64]:
    """Return the numbers of bricks by name, 0 where no brick is called so; shape (n,)."""
    names = np.asarray(brickname, dtype=np.str_).reshape(-1)
    is_long = np.char.str_len(names) == _NAME_LENGTH
    letters = np.ascontiguousarray(np.where(is_long, names, "0000p000").astype(f"U{_NAME_LENGTH}"))
    codes = letters.view(np.uint32).reshape(-1, _NAME_LENGTH).astype(np.int64) - ord("0")
    digits = np.delete(codes, 4, axis=1)
    is_number = ((digits >= 0) & (digits <= 9)).all(axis=1)
    tenths_ra = digits[:, :4] @ (1000, 100, 10, 1)
    tenths_dec = digits[:, 4:] @ (100, 10, 1)
    sign = np.where(letters.view(np.uint32).reshape(-1, _NAME_LENGTH)[:, 4] == ord("m"), -1, 1)
    # The centre lies within a tenth of a degree above what the name says, and neighbours are 0.25 degrees apart.
    row = np.ceil(np.round(tenths_dec / 10 / BRICK_DEG, 6)).astype(np.int64) * sign + N_ROWS // 2
    row = np.clip(row, 0, N_ROWS - 1)
    n_columns, first = _rows()
    column = np.rint((tenths_ra / 10 + 0.05) * n_columns[row] / 360 - 0.5).astype(np.int64)
    brickid = first[row] + np.clip(column, 0, n_columns[row] - 1)
    is_named = is_long & is_number & (name_of(brickid) == names)
    return np.where(is_named, brickid, 0)


def distance_outside(brickid: ArrayLike, ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Return how far each position lies outside a brick, arcsec along the nearer axis's great circle; 0 within.

    Parameters
    ----------
    brickid, ra, dec
        Numbers of bricks and positions in degrees, shape (n,).
    """
    ra_, dec_ = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
    _, _, n_columns = _place(brickid)
    centre_ra, centre_dec = centre_of(brickid)
    from_centre = np.abs((ra_ - centre_ra + 180) % 360 - 180)
    beyond_ra = np.maximum(from_centre - 180 / n_columns, 0) * np.cos(np.radians(dec_))
    beyond_dec = np.maximum(np.abs(dec_ - centre_dec) - BRICK_DEG / 2, 0)
    return np.asarray(np.hypot(beyond_ra, beyond_dec) * 3600, dtype=np.float64)


@cache
def _rows() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of bricks of each row, and the number of its first brick; shape (`N_ROWS`,) each."""
    centre = np.arange(N_ROWS) * BRICK_DEG - _POLE_DEG
    widest = np.maximum(np.abs(centre) - BRICK_DEG / 2, 0)
    n_columns = 2 * np.ceil(180 / BRICK_DEG * np.cos(np.radians(widest))).astype(np.int64)
    n_columns[[0, -1]] = 1
    return n_columns, 1 + np.concatenate(([0], np.cumsum(n_columns)[:-1]))


def _place(brickid: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return row, column, and the number of columns in that row."""
    numbers = np.asarray(brickid, dtype=np.int64)
    n_columns, first = _rows()
    row = np.searchsorted(first, numbers, side="right") - 1
    return row, numbers - first[row], n_columns[row]


def _digits(numbers: NDArray[np.int64], width: int) -> NDArray[np.str_]:
    """Return numbers below 10^width with zeros before them: the digits after the 1 of number + 10^width."""
    letters = (numbers + 10**width).astype(f"U{width + 1}").view("U1").reshape(-1, width + 1)
    return np.ascontiguousarray(letters[:, 1:]).view(f"U{width}").reshape(-1)
