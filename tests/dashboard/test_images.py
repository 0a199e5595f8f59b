"""Colour thumbnails: orientation, colours, and pixels without data."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from dashboard.images import ENLARGE, NO_DATA, Thumbnail, colour, png, thumbnails
from etl.cutouts.files import SHAPE


def flat(g: float, r: float, z: float) -> np.ndarray:
    return np.broadcast_to(np.array([g, r, z], np.float32), SHAPE).copy()


def test_the_files_last_row_is_north_and_drawn_at_the_top() -> None:
    pixels = flat(0, 0, 0)
    pixels[-5:, :, :] = 1.0
    image = colour(pixels).astype(int)
    assert image[:5].min() > image[5:].max()


def test_the_files_columns_keep_their_order() -> None:
    pixels = flat(0, 0, 0)
    pixels[:, :5, :] = 1.0
    image = colour(pixels).astype(int)
    assert image[:, :5].min() > image[:, 5:].max()


def test_a_red_galaxy_is_redder_than_blue_and_an_arc_the_other_way() -> None:
    early_type = colour(flat(0.01, 0.05, 0.12))[50, 50].astype(int)
    arc = colour(flat(0.05, 0.05, 0.05))[50, 50].astype(int)
    assert early_type[0] > early_type[1] > early_type[2]
    assert arc[2] > arc[0]


def test_pixels_without_data_in_any_band_are_grey_and_no_other_is() -> None:
    pixels = flat(0.01, 0.05, 0.12)
    pixels[0, 3, 1] = np.nan
    is_grey = (colour(pixels) == NO_DATA).all(axis=-1)
    assert np.argwhere(is_grey).tolist() == [[100, 3]]


def test_the_png_holds_every_pixel_enlarged() -> None:
    image = np.random.default_rng(42).integers(0, 256, (101, 101, 3), dtype=np.uint8)
    drawn = np.asarray(Image.open(io.BytesIO(png(image))))
    assert drawn.shape == (101 * ENLARGE, 101 * ENLARGE, 3)
    for row in range(ENLARGE):
        for column in range(ENLARGE):
            assert (drawn[row::ENLARGE, column::ENLARGE] == image).all()


def test_a_cutout_that_cannot_be_shown_says_why_in_one_line(tmp_path: object) -> None:
    store = str(tmp_path)
    with open(f"{store}/broken.npz", "wb") as file:  # noqa: PTH123 - tmp_path as the store names it
        file.write(b"no npz")
    absent, broken, rejected = thumbnails(store, None, ("store:absent.npz", "store:broken.npz", None))
    assert rejected == Thumbnail(None, "the cutout was rejected: it has no file")
    for found, words in ((absent, "absent.npz: is not in the store"), (broken, "broken.npz: is not a readable npz")):
        assert found.source is None
        assert words in str(found.problem)
        assert "\n" not in str(found.problem)
