"""Windows that leave their brick's images: what lies beyond comes from the neighbouring bricks.

The survey's bricks overlap, and each is a tangent plane of its own with pixels of one size. For a missing pixel the
nearest pixel of the neighbour is taken, at most half a pixel (0.13 arcsec) off in each direction, an eighth of the
seeing. Interpolation would put it in its place exactly, but would correlate its noise with that of the pixels around
it, lower it, and spread masked pixels over a kernel's width: a border that looks different is what the shortcut audit
hunts for (docs/adr/0012).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etl.bricks import brick_of, name_of
from etl.cutouts.brick_files import PIXELS, BrickFiles, Which, find_brick
from etl.cutouts.files import BANDS, Pixels
from etl.cutouts.planes import Layout, Plane, layout_of, open_brick
from etl.cutouts.source import SourceVersion
from etl.cutouts.windows import Ints, Windows
from etl.errors import CoaddError
from etl.storage import Store

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Gaps:
    """The pixels beyond the image, shape (m,): whose window, where in it, and where on the sky."""

    target: Ints
    row: Ints
    column: Ints
    ra: Floats
    dec: Floats


@dataclass(frozen=True)
class Filled:
    """What came of the windows that leave their brick, by number of the window.

    `sources` are the neighbours that pixels came from; `failures` say which neighbour's files are damaged.
    """

    sources: dict[int, tuple[SourceVersion, ...]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)


def fill_edges(pixels: Pixels, windows: Windows, layout: Layout, store: Store, brickname: str) -> Filled:
    """Fill the pixels beyond a brick's images from its neighbours, in place.

    Neighbours are the bricks of the survey's grid that hold those pixels; one without all of its files is passed over,
    as the survey's rim has them. One whose files are there but damaged fails the windows that reach into it.

    Parameters
    ----------
    pixels
        (n, 101, 101, 3), cut by `windows` from images of this layout.
    store, brickname
        Where bricks are, and whose images they are.
    """
    gaps = _gaps(windows, layout)
    filled = Filled()
    if not len(gaps.target):
        return filled
    brickid = brick_of(gaps.ra, gaps.dec)
    near = np.unique(brickid)
    for number, name in zip(near, name_of(near).tolist(), strict=True):
        files = None if name == brickname else _complete(store, name)
        if files is None:
            continue
        try:
            with open_brick(store, files, PIXELS) as planes:
                for target in _fill(pixels, gaps, planes, layout_of(planes, name)):
                    filled.sources[target] = (*filled.sources.get(target, ()), files.source)
        except CoaddError as exc:
            filled.failures.update(dict.fromkeys(np.unique(gaps.target[brickid == number]).tolist(), str(exc)))
    return filled


def _gaps(windows: Windows, layout: Layout) -> _Gaps:
    leaving = np.flatnonzero(windows.leave(layout.shape) & windows.is_somewhere())
    steps = np.arange(windows.side)
    x = (windows.x[leaving, None] + steps)[:, None, :]
    y = (windows.y[leaving, None] + steps)[:, :, None]
    is_beyond = (x < 0) | (x >= layout.shape[1]) | (y < 0) | (y >= layout.shape[0])
    which, row, column = np.nonzero(is_beyond)
    target = leaving[which]
    ra, dec = layout.projection.to_sky(
        (windows.x[target] + column).astype(np.float64), (windows.y[target] + row).astype(np.float64)
    )
    return _Gaps(target, row, column, ra, dec)


def _complete(store: Store, brickname: str) -> BrickFiles | None:
    """Find a neighbour that has all bands: at the survey's rim some have not."""
    try:
        return find_brick(store, brickname)
    except CoaddError:
        return None


def _fill(pixels: Pixels, gaps: _Gaps, planes: Mapping[Which, Plane], layout: Layout) -> list[int]:
    """Fill what one neighbour has; return the windows that got something."""
    x, y = (np.floor(np.nan_to_num(v, nan=-1.0) + 0.5) for v in layout.projection.to_pixels(gaps.ra, gaps.dec))
    is_there = (x >= 0) & (x < layout.shape[1]) & (y >= 0) & (y < layout.shape[0])
    got = []
    for target in np.unique(gaps.target[is_there]).tolist():
        chosen = np.flatnonzero(is_there & (gaps.target == target))
        at_x, at_y = x[chosen].astype(np.int64), y[chosen].astype(np.int64)
        rows, columns = slice(at_y.min(), at_y.max() + 1), slice(at_x.min(), at_x.max() + 1)
        inside = at_y - rows.start, at_x - columns.start
        is_used = False
        for b, band in enumerate(BANDS):
            values = planes["image", band].region(rows, columns)[inside]
            is_seen = planes["invvar", band].region(rows, columns)[inside] > 0
            place = target, gaps.row[chosen], gaps.column[chosen], b
            is_free = np.isnan(pixels[place]) & is_seen
            pixels[place] = np.where(is_free, values, pixels[place])
            is_used |= bool(is_free.any())
        if is_used:
            got.append(target)
    return got
