"""One pass over the files of a draw: quality, metrics, and the pixels of the border."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.cutouts.brick import MAX_NAN_FRACTION, centre_has_data
from etl.cutouts.files import BANDS, SHAPE, Pixels, read_pixels
from etl.cutouts.make import StoreAddress
from etl.cutouts.metrics import BORDER_PX, measure_audit, measure_v1
from etl.errors import CutoutError, StorageError
from etl.storage import open_store

BATCH_FILES = 64
_SIDES = ("south", "north", "west", "east")
_PERCENTILES = (5, 25, 50, 75, 95)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CutoutFile:
    """One file to read, and the hash that its row promises."""

    cutout_id: int
    uri: str
    sha256: str
    needs_metrics: bool


def measure_files(
    address: StoreAddress, files: Sequence[CutoutFile], n_workers: int, on_progress: Progress | None = None
) -> pd.DataFrame:
    """Read all files, in processes of their own where there are many.

    Returns
    -------
    pandas.DataFrame
        Indexed by cutout_id, ascending: `problem` (None when sound), ``v1_*_r`` and ``audit_*_r`` (NaN where the file
        is not sound or did not need them), ``border_*`` (statistics of the border of every band).
    """
    batches = [files[start : start + BATCH_FILES] for start in range(0, len(files), BATCH_FILES)]
    done: list[pd.DataFrame] = []
    n_done = 0
    for table in _measured(address, batches, n_workers):
        done.append(table)
        n_done += len(table)
        if on_progress is not None:
            on_progress(n_done, len(files))
    return pd.concat(done).sort_index()


def _measured(address: StoreAddress, batches: Sequence[Sequence[CutoutFile]], n_workers: int) -> Iterator[pd.DataFrame]:
    if n_workers == 1 or len(batches) < 8:
        yield from (measure_batch(address, batch) for batch in batches)
        return
    # Not fork: the parent holds database connections and a thread that draws the progress bar.
    with ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(measure_batch, address, batch) for batch in batches]
        yield from (future.result() for future in as_completed(futures))


def measure_batch(address: StoreAddress, files: Sequence[CutoutFile]) -> pd.DataFrame:
    """Read and measure a few files; the table of `measure_files`."""
    store = open_store(address.uri, address.endpoint_url)
    stack = np.full((len(files), *SHAPE), np.nan, np.float32)
    problems: list[str | None] = []
    for position, file in enumerate(files):
        try:
            data = store.get_bytes(file.uri)
            pixels = read_pixels(data, file.uri)
        except (CutoutError, StorageError) as exc:
            problems.append(str(exc))
            continue
        is_same = hashlib.sha256(data).hexdigest() == file.sha256
        problem = pixel_problem(pixels) if is_same else "its SHA-256 is not the one recorded"
        problems.append(problem)
        if problem is None:
            stack[position] = pixels
    columns = border_statistics(stack)
    if any(file.needs_metrics for file in files):
        r = np.ascontiguousarray(stack[..., BANDS.index("r")])
        columns |= {f"v1_{name}_r": values for name, values in measure_v1(r).items()}
        columns |= {f"audit_{name}_r": values for name, values in measure_audit(r).items()}
    index = pd.Index([file.cutout_id for file in files], name="cutout_id")
    return pd.DataFrame({"problem": pd.Series(problems, index=index, dtype=object)} | columns, index=index)


def pixel_problem(pixels: Pixels) -> str | None:
    """Say what makes the pixels (101, 101, 3) of a stored cutout unfit; None when nothing does."""
    if np.isinf(pixels).any():
        return "it holds infinite pixels"
    worst = float(np.isnan(pixels).mean(axis=(0, 1)).max())
    if worst > MAX_NAN_FRACTION:
        return f"{worst:.1%} of a band lacks data (limit {MAX_NAN_FRACTION:.0%})"
    if not centre_has_data(pixels):
        return "pixels near its centre lack data"
    if not np.nan_to_num(pixels).any(axis=(0, 1)).all():
        return "a band is zero everywhere"
    return None


def border_statistics(stack: Pixels) -> dict[str, npt.NDArray[np.float64]]:
    """Describe the outermost pixels of each band: percentiles, spread and the mean of each side.

    Takes (n, 101, 101, 3), returns (n,) values by name; NaN where a border has no data.
    """
    b = BORDER_PX
    strips = (stack[:, :b], stack[:, -b:], stack[:, b:-b, :b], stack[:, b:-b, -b:])
    flat = [np.reshape(strip, (len(stack), -1, len(BANDS))).astype(np.float64) for strip in strips]
    border = np.concatenate(flat, axis=1)
    border[np.isnan(border).all(axis=1).any(axis=-1)] = 0.0
    is_empty = np.isnan(stack).all(axis=(1, 2, 3))
    made: dict[str, npt.NDArray[np.float64]] = {}
    for index, band in enumerate(BANDS):
        values = border[..., index]
        quantiles = _percentiles(values)
        made |= {f"border_p{percent}_{band}": row for percent, row in zip(_PERCENTILES, quantiles, strict=True)}
        made[f"border_std_{band}"] = np.nanstd(values, axis=1)
        for side, strip in zip(_SIDES, flat, strict=True):
            made[f"border_{side}_{band}"] = _mean(strip[..., index])
    return {name: np.where(is_empty, np.nan, values) for name, values in made.items()}


def _percentiles(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if np.isfinite(values).all():
        return np.percentile(values, _PERCENTILES, axis=1)
    return np.asarray(np.nanpercentile(values, _PERCENTILES, axis=1))


def _mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    is_valid = np.isfinite(values)
    n_valid = is_valid.sum(axis=1)
    total = np.where(is_valid, values, 0).sum(axis=1)
    return np.where(n_valid > 0, total / np.maximum(n_valid, 1), np.nan)
