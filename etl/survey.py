"""The survey's own words: its key for a source, and which survey a release number belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.models import Survey
from etl.errors import EtlError

DATA_RELEASE = 10
"""Data release that this code reads."""

MOCK_RELEASE = 9990
"""Release number reserved for the mock sky; the survey's own are 9010-9012 (DR9) and 10000 upwards (DR10)."""

DR10_RELEASES = range(10_000, 11_000)
"""Release numbers of DR10, one per camera and reprocessing."""

N_OBJID_BITS = 16
N_BRICKID_BITS = 24


def ls_id(release: ArrayLike, brickid: ArrayLike, objid: ArrayLike) -> NDArray[np.int64]:
    """Return the survey's key of sources: ``release << 40 | brickid << 16 | objid``.

    Parameters
    ----------
    release, brickid, objid
        Integers of one shape (or broadcastable); cast to int64 before shifting, since int16 and int32 overflow.

    Raises
    ------
    EtlError
        When a value does not fit the key: objid takes 16 bits, brickid 24, release the 23 above.

    Notes
    -----
    https://www.legacysurvey.org/dr10/description/ ("Glossary": unique identifiers).
    """
    parts = [np.asarray(part).astype(np.int64) for part in (release, brickid, objid)]
    for name, part, n_bits in zip(("release", "brickid", "objid"), parts, (23, 24, 16), strict=True):
        if part.size and (part.min() < 0 or part.max() >> n_bits):
            raise EtlError(f"{name} {part.min()} to {part.max()} does not fit the {n_bits} bits it has in ls_id")
    keys: NDArray[np.int64] = parts[0] << (N_BRICKID_BITS + N_OBJID_BITS) | parts[1] << N_OBJID_BITS | parts[2]
    return keys


def split_ls_id(key: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return release, brickid and objid of keys, the inverse of `ls_id`."""
    keys = np.asarray(key, dtype=np.int64)
    brickid = keys >> N_OBJID_BITS & (1 << N_BRICKID_BITS) - 1
    objid = keys & (1 << N_OBJID_BITS) - 1
    return keys >> (N_BRICKID_BITS + N_OBJID_BITS), brickid, objid


def survey_of_release(release: ArrayLike) -> NDArray[np.str_]:
    """Return `dr10` or `mock` for each release number.

    Raises
    ------
    EtlError
        When a number belongs to neither.
    """
    releases = np.asarray(release).astype(np.int64)
    is_mock = releases == MOCK_RELEASE
    is_known = is_mock | ((releases >= DR10_RELEASES.start) & (releases < DR10_RELEASES.stop))
    if not is_known.all():
        raise EtlError(
            f"release {releases[~is_known].flat[0]} is not DR10: expected {DR10_RELEASES.start} to "
            f"{DR10_RELEASES.stop - 1}, or {MOCK_RELEASE} for the mock sky"
        )
    return np.where(is_mock, Survey.MOCK.value, Survey.DR10.value)
