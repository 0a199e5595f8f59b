"""Brick coadds as a source of pixels: all targets of a brick from one look at its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.cutouts.brick_files import MAPS, PIXELS, Which, find_brick, no_such_brick
from etl.cutouts.conditions import point_source_depth
from etl.cutouts.edges import fill_edges
from etl.cutouts.files import BANDS, N_PIXELS, Pixels
from etl.cutouts.planes import Plane, layout_of, open_brick
from etl.cutouts.source import Conditions, Positions, Sliced, SourceKind, SourceVersion
from etl.cutouts.windows import Windows, windows_around
from etl.errors import CoaddError
from etl.storage import LocalStore, Store, open_store

HALF = N_PIXELS // 2

_WHOLE_AT = 1.5
"""Tiles that windows touch one after the other, over all tiles, from which on an image is read whole. Of a brick of
3,600 pixels, 300 targets take 1.6 times as long whole as by tiles, 700 take 0.85 times."""

_SLAB = 32
"""Windows that are masked at once: they stay in the processor's cache."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CoaddSource:
    """The coadds below one place: a folder, ``s3://bucket/prefix`` or ``https://host/path``."""

    place: str
    endpoint_url: str | None = None

    @property
    def kind(self) -> SourceKind:
        """What `imaging.cutout.source` says of its cutouts."""
        return "coadd"

    @property
    def address(self) -> str:
        """Where the coadds are, as the addresses of their files begin."""
        return self._store().address

    def refuse_wrong_place(self) -> None:
        """Refuse a folder that holds no coadds: a wrong folder is one mistake, not one for each brick.

        Raises
        ------
        CoaddError
            When it has no folder `coadd` in it.
        """
        store = self._store()
        if isinstance(store, LocalStore) and not (store.root / "coadd").is_dir():
            raise CoaddError(
                f"{self.place}: holds no folder `coadd`; --coadds is the folder that has coadd/AAA/<brick>/ in it"
            )

    def state(self, brickname: str) -> SourceVersion | None:
        """Look at a brick's files without reading them; None where it has none.

        Raises
        ------
        CoaddError
            When some of its files are there and others are not.
        """
        found = find_brick(self._store(), brickname)
        return None if found is None else found.source

    def slice(self, positions: Positions) -> Sliced:
        """Cut all targets of a brick.

        The cutout's centre (index 50, 50) is the pixel that holds the position, as in the survey's cutout service.
        Pixels without inverse variance are NaN. What lies beyond the brick's images is taken from its neighbours'
        (`etl.cutouts.edges`), and is NaN where they have nothing.

        Raises
        ------
        CoaddError
            When a file is absent or unreadable, or the bands have different sizes or projections.
        """
        store = self._store()
        files = find_brick(store, positions.brickname)
        if files is None:
            raise no_such_brick(positions.brickname)
        with open_brick(store, files, (*PIXELS, *MAPS)) as planes:
            layout = layout_of(planes, positions.brickname)
            x, y = layout.projection.to_pixels(positions.ra, positions.dec)
            windows, centres = windows_around(x, y, N_PIXELS), windows_around(x, y, 1)
            n_tiles = layout.n_tiles()
            is_whole = windows.n_tiles(layout.shape, layout.tile) >= _WHOLE_AT * n_tiles
            pixels, weight = cut_windows(planes, windows, is_whole=is_whole)
            conditions = _conditions(planes, centres, weight, is_whole=len(x) >= _WHOLE_AT * n_tiles)
        filled = fill_edges(pixels, windows, layout, store, positions.brickname)
        sources = [(files.source, *filled.sources.get(i, ())) for i in range(len(x))]
        return Sliced(pixels, sources, [filled.failures.get(i) for i in range(len(x))], conditions)

    def _store(self) -> Store:
        return open_store(self.place, self.endpoint_url)


def cut_windows(planes: Mapping[Which, Plane], windows: Windows, *, is_whole: bool) -> tuple[Pixels, Floats]:
    """Cut the windows of all bands, masked; `is_whole` reads each image whole, one band after the other.

    Returns
    -------
    pixels
        (n, 101, 101, 3) float32; NaN without inverse variance.
    weight
        (n, 3) inverse variance at the middle pixel; NaN outside the image.
    """
    n = len(windows.x)
    pixels = np.empty((n, N_PIXELS, N_PIXELS, len(BANDS)), np.float32)
    weight = np.empty((n, len(BANDS)))
    for b, band in enumerate(BANDS):
        image, invvar = (_ready(planes[kind, band], is_whole=is_whole) for kind in PIXELS)
        for first in range(0, n, _SLAB):
            slab = slice(first, first + _SLAB)
            chosen = windows.part(slab)
            cut, seen = image.cut(chosen), invvar.cut(chosen)
            cut[~(seen > 0)] = np.nan
            pixels[slab, ..., b] = cut
            weight[slab, b] = seen[:, HALF, HALF]
    return pixels, weight


def _ready(plane: Plane, *, is_whole: bool) -> Plane:
    return plane.loaded() if is_whole else plane


def _conditions(planes: Mapping[Which, Plane], centres: Windows, weight: Floats, *, is_whole: bool) -> Conditions:
    """Read the maps at the middle pixels; NaN where a map is absent or has nothing."""
    fwhm, n_exposures = (
        np.stack([_at(planes.get((kind, band)), centres, is_whole=is_whole) for band in BANDS], axis=1) for kind in MAPS
    )
    fwhm[~(fwhm > 0)] = np.nan
    return Conditions(fwhm, point_source_depth(weight, fwhm), n_exposures)


def _at(plane: Plane | None, centres: Windows, *, is_whole: bool) -> Floats:
    if plane is None:
        return np.full(len(centres.x), np.nan)
    return _ready(plane, is_whole=is_whole).cut(centres)[:, 0, 0].astype(np.float64)
