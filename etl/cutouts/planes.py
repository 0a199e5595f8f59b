"""The images of a brick, as fitsio opens them, or in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.cutouts.brick_files import BrickFiles, Which, local_files
from etl.cutouts.cards import read_cards
from etl.cutouts.files import BANDS
from etl.cutouts.projection import PROJECTION_CARDS, Projection, projection_of
from etl.cutouts.windows import Windows, read_windows
from etl.errors import CoaddError
from etl.storage import Store

_AXES = 2
_CARDS = ("ZTILE1", "ZTILE2", *PROJECTION_CARDS)
_SAME_PIXEL = 0.01
"""Bands agree when no corner differs by more than this, in pixels."""

Shape = tuple[int, int]


@dataclass(frozen=True)
class Plane:
    """An image of shape (height, width); `image` is an array, or what fitsio reads parts of the file at `path` with."""

    name: str
    shape: Shape
    image: Any
    path: Path | None = None

    def loaded(self) -> Plane:
        """Read the whole image, so that windows come from memory."""
        with _readable(self.name):
            return replace(self, image=self.image.read())

    def cut(self, windows: Windows) -> npt.NDArray[np.float32]:
        """Cut windows, (n, side, side) float32; NaN outside the image.

        Raises
        ------
        CoaddError
            When the file is broken there.
        """
        with _readable(self.name):
            return read_windows(self.image, self.shape, windows)

    def region(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Read a rectangle that lies inside the image."""
        with _readable(self.name):
            return np.asarray(self.image[rows, columns], dtype=np.float32)


@dataclass(frozen=True)
class Layout:
    """What the images of a brick share: shape (height, width), projection, and the shape of their tiles."""

    shape: Shape
    projection: Projection
    tile: Shape

    def n_tiles(self) -> int:
        """Count the tiles of one image."""
        return -(-self.shape[0] // self.tile[0]) * -(-self.shape[1] // self.tile[1])


@contextmanager
def open_brick(store: Store, files: BrickFiles, kinds: Sequence[str]) -> Iterator[dict[Which, Plane]]:
    """Open the files of some kinds.

    Raises
    ------
    CoaddError
        When one of them holds no image.
    """
    with ExitStack() as opened:
        paths = opened.enter_context(local_files(store, files, kinds))
        yield {which: opened.enter_context(_plane(path, files.keys[which])) for which, path in paths.items()}


def layout_of(planes: Mapping[Which, Plane], brickname: str) -> Layout:
    """Read the shape and projection of a brick's images.

    Raises
    ------
    CoaddError
        When the bands, or image and inverse variance, do not agree, or there is no usable projection.
    """
    first: Layout | None = None
    for band in BANDS:
        image, invvar = planes["image", band], planes["invvar", band]
        if image.shape != invvar.shape:
            sizes = f"{image.shape} and {invvar.shape}"
            raise CoaddError(f"brick {brickname}: image and invvar of {band} have sizes {sizes}; fetch them")
        layout = _layout(image)
        first = first or layout
        if layout.shape != first.shape or not _is_same_place(layout, first):
            raise CoaddError(f"brick {brickname}: band {band} has another size or projection than {BANDS[0]}")
    if first is None:
        raise CoaddError(f"brick {brickname}: has no bands")
    return first


def _layout(plane: Plane) -> Layout:
    try:
        cards = read_cards(_header(plane), _CARDS)
        tile = int(cards.get("ZTILE2", plane.shape[0])), int(cards.get("ZTILE1", plane.shape[1]))
        return Layout(plane.shape, projection_of(cards), tile)
    except ValueError as exc:
        raise CoaddError(f"{plane.name}: its header has no usable projection ({exc}); fetch it again") from exc


def _header(plane: Plane) -> bytes:
    """Read the image's header as it stands in the file; fitsio takes longer for it than for the tiles of a target."""
    if plane.path is None:
        return b""
    place = plane.image.get_info()
    with _readable(plane.name), plane.path.open("rb", buffering=0) as file:
        file.seek(place["header_start"])
        return file.read(place["data_start"] - place["header_start"])


def _is_same_place(one: Layout, other: Layout) -> bool:
    if one.projection == other.projection:
        return True
    x, y = (np.array(ends, np.float64) for ends in ((0, one.shape[1], 0), (0, 0, one.shape[0])))
    there = other.projection.to_pixels(*one.projection.to_sky(x, y))
    return bool(np.allclose(there, (x, y), rtol=0, atol=_SAME_PIXEL))


@contextmanager
def _plane(path: Path, name: str) -> Iterator[Plane]:
    """Open the first image of an fpacked file; `name` is what errors call it."""
    import fitsio

    with _readable(name):
        file = fitsio.FITS(str(path))
    with file:
        image = _first_image(file)
        if image is None:
            raise CoaddError(f"{name}: holds no image; fetch it again")
        height, width = image.get_dims()
        yield Plane(name, (int(height), int(width)), image, path)


def _first_image(file: Any) -> Any | None:
    """Look where fpack puts it first: the primary HDU is empty then."""
    for number in (1, 0):
        try:
            image = file[number]
        except OSError:
            continue
        if image.get_exttype() == "IMAGE_HDU" and len(image.get_dims()) == _AXES:
            return image
    return None


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        reason = str(exc).splitlines()[0]
        raise CoaddError(f"{name}: is not a readable FITS image ({reason}); fetch it again") from exc
