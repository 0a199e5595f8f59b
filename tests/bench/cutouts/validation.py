"""Validation of cutouts: all features, all checks, from files in the page cache, in one process."""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console

from etl.cutouts.files import Cutout, write_cutout
from etl.cutouts.make import StoreAddress
from etl.cutouts.stored import stored_arrays
from etl.storage import LocalStore
from etl.validation.measure import BATCH_FILES, Batch, measure_batch, measure_planes
from etl.validation.reading import Promise, read_promised
from tests.bench.cutouts.sizes import Sizes
from tests.bench.limits import Measure, median

AT_LEAST = 1500.0
_FLUX = (20.0, 60.0, 110.0)
_N_META = 33
"""Scalars beside the pixels, as many as a cutout has that this project makes."""


def measure(folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Validate generated cutouts several times, and read them without measuring."""
    store = LocalStore(folder / "store")
    batches = _batches(store, sizes.n_validated)
    address = StoreAddress(str(store.root))
    out.print(f"{sizes.n_validated:,} files written", highlight=False)
    tables = [measure_batch(address, batch) for batch in batches]  # also warms the page cache
    if any(table["reason"].notna().any() for table in tables):
        raise RuntimeError("a generated cutout was quarantined")
    n_features = tables[0].shape[1] - 2
    promises = [promise for batch in batches for promise in batch.promises]
    planes = np.random.default_rng(1).normal(0.1, 0.02, (16, 3, 101, 101)).astype(np.float32)

    def validate() -> None:
        for batch in batches:
            measure_batch(address, batch)

    def read() -> None:
        for promise in promises:
            read_promised(store, promise)

    def parse() -> None:
        data = store.get_bytes(promises[0].uri)
        for _ in promises:
            stored_arrays(data, ("cutout", "meta_layer"))

    def features() -> None:
        for _ in range(len(promises) // len(planes)):
            measure_planes(planes)

    rates: dict[str, list[float]] = {}
    of_core: list[float] = []
    for _ in range(sizes.n_repeats):
        seconds, cpu = _timed(validate)
        rates.setdefault("validated", []).append(len(promises) / seconds)
        of_core.append(len(promises) / cpu)
        for name, work in (("read", read), ("parsed", parse), ("features", features)):
            rates.setdefault(name, []).append(len(promises) / _timed(work)[0])
    unit = "cutouts/s"
    validated = median(f"validated: read, hashed, checked, {n_features} features", rates["validated"], unit,
                       at_least=AT_LEAST)  # fmt: skip
    read_only = median("of it: read, hashed, held to the row", rates["read"], unit)
    return [
        validated,
        median("the same, by processor time", of_core, unit),
        read_only,
        Measure("share of reading in the time", validated.value / read_only.value, ""),
        median("of it: taken apart, without zipfile", rates["parsed"], unit),
        median("of it: features, of pixels in memory", rates["features"], unit),
    ]


def _batches(store: LocalStore, n_cutouts: int) -> list[Batch]:
    """Write files of a galaxy in noise, no two alike."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[-50:51, -50:51]
    light = np.exp(-np.hypot(x, y) / 4)[..., None] * np.array(_FLUX) / 100
    meta = {"meta_galaxy_id": "x", "meta_ra": 1.0, "meta_dec": 2.0, "meta_size": 101, "meta_pixel_scale": 0.262}
    meta |= {"meta_layer": "mock", "meta_bands_requested": "grz"}
    meta |= {f"meta_value_{i}": float(i) for i in range(_N_META - len(meta))}
    batches = []
    for first in range(0, n_cutouts, BATCH_FILES):
        keys = np.arange(first, min(first + BATCH_FILES, n_cutouts))
        promises = []
        for key in keys.tolist():
            noise = rng.normal(0, 0.01, light.shape)
            data = write_cutout(Cutout((light + noise).astype(np.float32), meta))
            uri = store.put_bytes(f"cutouts/positives/v1/{key}.npz", data)
            promises.append(Promise(uri, hashlib.sha256(data).hexdigest(), "mock", "grz", 101, 0.262))
        batches.append(Batch(keys, tuple(promises), np.tile(np.array(_FLUX), (len(keys), 1))))
    return batches


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and processor time."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
