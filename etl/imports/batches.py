"""One pass over a manifest: every row's key and values are checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from db.models.catalog import GALAXY_TYPES
from etl import bricks
from etl.imports.columns import ALWAYS_MEASURED, MEASURED
from etl.imports.derived import texts
from etl.imports.findings import Mask, RowProblems
from etl.imports.keys import BRICK_TOLERANCE_ARCSEC, Keys, read_keys
from etl.imports.manifest import Manifest

Progress = Callable[[int, int], None]
"""Told how many rows have been gone through, of how many."""


@dataclass(frozen=True)
class CheckedBatch:
    """Rows of a manifest under our names, their numbers in the file, and their keys."""

    numbers: NDArray[np.int64]
    rows: pa.RecordBatch
    keys: Keys


def numbered_batches(
    manifest: Manifest, on_progress: Progress | None = None
) -> Iterator[tuple[NDArray[np.int64], pa.RecordBatch]]:
    """Yield the batches of a manifest with the numbers of their rows, from 0."""
    n_read = 0
    for rows in manifest.batches():
        yield np.arange(n_read, n_read + len(rows)), rows
        n_read += len(rows)
        if on_progress:
            on_progress(n_read, manifest.n_rows)


def check_rows(numbers: NDArray[np.int64], rows: pa.RecordBatch, release: int, problems: RowProblems) -> CheckedBatch:
    """Build the keys of some rows, and note what is wrong with the rows in `problems`, for the caller to refuse."""
    keys = read_keys(rows, release)
    found = keys.problems | position_problems(rows, keys)
    if "type" in rows.schema.names:
        types = texts(rows, "type").astype(np.str_)
        found[f"type is none of {', '.join(GALAXY_TYPES)}"] = ~np.isin(types, GALAXY_TYPES)
    problems.note(numbers, keys.names, found | _measured_problems(rows))
    return CheckedBatch(numbers, rows, keys)


def note_repeats(keys: NDArray[np.int64], problems: RowProblems) -> None:
    """Note the keys that a whole file has more than once; -1 stands for no key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_repeat = np.zeros(len(keys), dtype=np.bool_)
    is_repeat[order[1:]] = (ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)
    problems.note_rows("its key repeats", np.arange(len(keys)), keys, is_repeat)


def position_problems(rows: pa.RecordBatch, keys: Keys) -> dict[str, Mask]:
    """Return which positions are off the sky, or away from their brick."""
    ra, dec = (rows.column(name).to_numpy(zero_copy_only=False) for name in ("ra", "dec"))
    is_off = ~((ra >= 0) & (ra < 360)), ~((dec >= -90) & (dec <= 90))
    is_placed = (keys.brickid > 0) & ~is_off[0] & ~is_off[1]
    outside = np.zeros(len(ra))
    outside[is_placed] = bricks.distance_outside(keys.brickid[is_placed], ra[is_placed], dec[is_placed])
    return {
        "ra is not in [0, 360)": is_off[0],
        "dec is not in [-90, 90]": is_off[1],
        "its position is outside its brick": outside > BRICK_TOLERANCE_ARCSEC,
    }


def _measured_problems(rows: pa.RecordBatch) -> dict[str, Mask]:
    """Return, by reason, which rows lack what every galaxy has, or hold what no catalog does."""
    problems: dict[str, Mask] = {}
    for name in MEASURED:
        if name not in rows.schema.names:
            continue
        column = rows.column(name)
        if name in ALWAYS_MEASURED:
            problems[f"{name} is missing"] = pc.is_null(column).to_numpy(zero_copy_only=False)
        if pa.types.is_floating(column.type):
            is_infinite = pc.fill_null(pc.is_inf(column), fill_value=False)
            problems[f"{name} is infinite"] = is_infinite.to_numpy(zero_copy_only=False)
        elif name != "maskbits":
            is_negative = pc.fill_null(pc.less(column, 0), fill_value=False)
            problems[f"{name} is negative"] = is_negative.to_numpy(zero_copy_only=False)
    return problems
