"""The survey's key of each row of a manifest, from ``brickname_objid`` and the grid of bricks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from etl import bricks
from etl.imports.findings import Mask, Texts
from etl.survey import DR10_RELEASES, N_OBJID_BITS, ls_id

BRICK_TOLERANCE_ARCSEC = 3.0
"""A source may lie this far outside its brick: positions in manifests are rounded, the survey's own lie within."""

_PATTERN = r"^(?P<brickname>\d{4}[mp]\d{3})_(?P<objid>\d{1,9})$"


@dataclass(frozen=True)
class Keys:
    """Keys of one batch.

    Attributes
    ----------
    ls_id
        The survey's key, -1 where a row has a problem; int64, shape (n,).
    names
        ``brickname_objid``, as the manifest has it; shape (n,).
    brickname, brickid
        The brick, and its number on the grid (0: no such brick); shape (n,).
    problems
        By reason, which rows have no key; shape (n,) each.
    """

    ls_id: NDArray[np.int64]
    names: Texts
    brickname: NDArray[np.str_]
    brickid: NDArray[np.int64]
    problems: dict[str, Mask]


def read_keys(batch: pa.RecordBatch, release: int) -> Keys:
    """Build the keys of a batch.

    Where a manifest has `brickname`, `objid` and `brickid` they must agree with its `galaxy_id` and with the grid.

    Parameters
    ----------
    batch
        Our columns; `galaxy_id`, or `brickname` and `objid`.
    release
        Release number of all rows, unless the batch has a column of them.
    """
    columns = set(batch.schema.names)
    brickname, objid = _parts(batch)
    brick = np.asarray(pc.fill_null(brickname, "").to_numpy(zero_copy_only=False), dtype=np.str_)
    number = pc.fill_null(objid, -1).to_numpy(zero_copy_only=False)
    brickid = bricks.brick_of_name(brick)
    releases = np.full(len(batch), release, dtype=np.int64)
    if "release" in columns:
        releases = pc.fill_null(batch.column("release"), -1).to_numpy(zero_copy_only=False)
    problems: dict[str, Mask] = {
        "its key is not brickname_objid": ~_is_whole(brickname, objid),
        "no brick has that name": brickid == 0,
        f"objid does not fit {N_OBJID_BITS} bits": number >> N_OBJID_BITS != 0,
        "release is not DR10's": (releases < DR10_RELEASES.start) | (releases >= DR10_RELEASES.stop),
    }
    if "galaxy_id" in columns:
        for name, ours in (("brickname", brickname), ("objid", objid)):
            if name in columns:
                problems[f"{name} is not that of galaxy_id"] = _differ(batch.column(name), ours)
    if "brickid" in columns:
        problems["brickid is not that of its brick"] = _differ(batch.column("brickid"), pa.array(brickid))
    is_bad = np.logical_or.reduce(list(problems.values()), axis=0)
    keys = np.full(len(batch), -1, dtype=np.int64)
    keys[~is_bad] = ls_id(releases[~is_bad], brickid[~is_bad], number[~is_bad])
    return Keys(keys, names_of(batch), brick, brickid, problems)


def names_of(batch: pa.RecordBatch) -> Texts:
    """Return what a manifest calls its rows, ``brickname_objid`` where all is well; shape (n,)."""
    if "galaxy_id" in batch.schema.names:
        names = batch.column("galaxy_id")
    else:
        names = pc.binary_join_element_wise(batch.column("brickname"), batch.column("objid").cast(pa.string()), "_")
    return np.asarray(names.to_numpy(zero_copy_only=False), dtype=object)


def _parts(batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
    """Return brickname (text) and objid (int64), missing where there is none."""
    if "galaxy_id" not in batch.schema.names:
        return batch.column("brickname"), batch.column("objid")
    parts = pc.extract_regex(batch.column("galaxy_id"), _PATTERN)
    return pc.struct_field(parts, "brickname"), pc.struct_field(parts, "objid").cast(pa.int64())


def _is_whole(brickname: pa.Array, objid: pa.Array) -> Mask:
    whole: Mask = pc.and_(pc.is_valid(brickname), pc.is_valid(objid)).to_numpy(zero_copy_only=False)
    return whole


def _differ(theirs: pa.Array, ours: pa.Array) -> Mask:
    """Tell where both have a value and the two are not equal."""
    different: Mask = pc.fill_null(pc.not_equal(theirs, ours), fill_value=False).to_numpy(zero_copy_only=False)
    return different
