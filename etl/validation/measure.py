"""Files of cutouts, a batch at a time: what is wrong with them, and the metrics of those that are sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.cutouts.files import BANDS, N_PIXELS, Pixels
from etl.cutouts.make import StoreAddress
from etl.cutouts.metrics import measure_both
from etl.storage import open_store
from etl.validation.border import border_statistics
from etl.validation.colours import better_order
from etl.validation.quality import pixel_problems
from etl.validation.reading import Fault, Promise, read_promised

Planes = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

BATCH_FILES = 256
"""Files of one piece of work."""

_STACK = 16
"""Cutouts measured at once: few enough that they stay in a core's cache, which is several times as fast."""


@dataclass(frozen=True)
class Batch:
    """Cutouts to read: their keys, what their rows promise, and (n, 3) catalogued fluxes g, r, z; NaN if unknown."""

    cutout_id: npt.NDArray[np.int64]
    promises: tuple[Promise, ...]
    flux: npt.NDArray[np.float64]


def measure_batch(address: StoreAddress, batch: Batch) -> pd.DataFrame:
    """Read and measure the files of a batch.

    Returns
    -------
    pandas.DataFrame
        Indexed by cutout_id: `reason` and `detail` (None where the cutout is sound), and the columns of
        `measure_planes` (NaN where it is not).

    Raises
    ------
    StorageError
        When the store refuses.
    """
    store = open_store(address.uri, address.endpoint_url)
    faults: list[Fault | None] = []
    measured: list[dict[str, Values]] = []
    for first in range(0, len(batch.promises), _STACK):
        part = slice(first, first + _STACK)
        read = [read_promised(store, promise) for promise in batch.promises[part]]
        planes = np.zeros((len(read), len(BANDS), N_PIXELS, N_PIXELS), np.float32)
        for place, found in enumerate(read):
            if not isinstance(found, Fault):
                planes[place] = np.moveaxis(found, 2, 0)
        new = _faults(read, planes, batch.flux[part])
        # Infinite pixels of one cutout would cost all the fast way, and warnings.
        planes[[fault is not None for fault in new]] = 0
        measured.append(measure_planes(planes))
        faults += new
    is_sound = np.array([fault is None for fault in faults])
    columns = {name: np.concatenate([part[name] for part in measured]) for name in measured[0]}
    words = {
        "reason": [None if fault is None else fault.reason for fault in faults],
        "detail": [
            None if fault is None else f"{promise.uri}: {fault.detail}"
            for promise, fault in zip(batch.promises, faults, strict=True)
        ],
    }
    texts = {name: np.array(values, dtype=object) for name, values in words.items()}
    numbers = {name: np.where(is_sound, values, np.nan) for name, values in columns.items()}
    return pd.DataFrame(texts | numbers, index=pd.Index(batch.cutout_id, name="cutout_id"))


def measure_planes(planes: Planes) -> dict[str, Values]:
    """Measure everything that is kept of sound cutouts.

    Parameters
    ----------
    planes
        (n, 3, 101, 101) nanomaggies, bands g, r, z; NaN where there is no data.

    Returns
    -------
    dict
        (n,) values by column of `imaging.cutout_metric`.
    """
    v1, audit = measure_both(planes[:, BANDS.index("r")])
    columns = {f"v1_{name}_r": values for name, values in v1.items()}
    columns |= {f"audit_{name}_r": values for name, values in audit.items()}
    return columns | border_statistics(planes)


def _faults(read: Sequence[Pixels | Fault], planes: Planes, flux: Values) -> list[Fault | None]:
    """Name the first fault of each cutout; what could not be read is left as it is."""
    orders = better_order(planes, flux)
    return [
        found if isinstance(found, Fault) else in_pixels or _disorder(order)
        for found, in_pixels, order in zip(read, pixel_problems(planes), orders, strict=True)
    ]


def _disorder(order: str | None) -> Fault | None:
    if order is None:
        return None
    return Fault("band_order", f"its colours fit the catalogue if its bands are {order}, and not as {BANDS}")
