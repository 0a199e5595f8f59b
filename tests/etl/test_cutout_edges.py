"""Windows that leave their brick's images, against a brute-force look at the neighbour with astropy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etl.bricks import brick_of, brick_of_name, centre_of, name_of
from etl.cutouts.coadd import CoaddSource
from etl.cutouts.source import Positions
from tests.etl.coadd_bricks import SCALE_DEG, BrickImages, tan_wcs, write_images

OWN = str(name_of(brick_of([150.0], [30.0]))[0])
HEIGHT, WIDTH = 160, 240
BANDS = "grz"


def strip(name: str, ra: float, dec: float, seed: int) -> BrickImages:
    """The part of a brick's image about a position, under the brick's own projection, masked here and there."""
    centre = tuple(float(value[0]) for value in centre_of(brick_of_name([name])))
    x, y = tan_wcs(*centre, 0.0, 0.0).all_world2pix(ra, dec, 0)
    wcs = tan_wcs(*centre, round((WIDTH - 1) / 2 - float(x)), round((HEIGHT - 1) / 2 - float(y)))
    rng = np.random.default_rng(seed)
    images = {("image", band): rng.normal(size=(HEIGHT, WIDTH)).astype(np.float32) for band in BANDS}
    images |= {("invvar", band): (rng.uniform(size=(HEIGHT, WIDTH)) > 0.1).astype(np.float32) for band in BANDS}
    return BrickImages(name, wcs, images)


@pytest.fixture(scope="module")
def eastern_edge() -> tuple[float, float, str]:
    """A position on the edge between the brick and its eastern neighbour, and that neighbour's name."""
    ra, dec = (float(value[0]) for value in centre_of(brick_of_name([OWN])))
    steps = ra + np.arange(0, 0.2, 1e-5)
    edge = float(steps[np.flatnonzero(brick_of(steps, np.full_like(steps, dec)) != brick_of_name([OWN])[0])[0]])
    return edge, dec, str(name_of(brick_of([edge + 0.01], [dec]))[0])


def two_bricks(root: Path, edge: tuple[float, float, str]) -> tuple[BrickImages, BrickImages]:
    """The brick's eastern margin, and the neighbour's western one, which overlaps it by some 80 pixels."""
    ra, dec, name = edge
    step = 80 * SCALE_DEG
    own, other = strip(OWN, ra - step, dec, 1), strip(name, ra + step, dec, 2)
    write_images(root, own)
    write_images(root, other)
    return own, other


def at(brick: BrickImages, x: float, y: float) -> Positions:
    ra, dec = brick.wcs.all_pix2world([x], [y], 0)
    return Positions(brick.name, ra, dec)


def test_what_lies_beyond_the_image_is_the_neighbours_nearest_pixel(
    tmp_path: Path, eastern_edge: tuple[float, float, str]
) -> None:
    own, other = two_bricks(tmp_path, eastern_edge)
    x, y = 15, 78
    sliced = CoaddSource(str(tmp_path)).slice(at(own, x, y))
    truth = np.full((101, 101, 3), np.nan, np.float32)
    n_from_neighbour = 0
    rows, columns = np.mgrid[:101, :101]
    own_xs, own_ys = x - 50 + columns, y - 50 + rows
    there_xs, there_ys = other.wcs.all_world2pix(*own.wcs.all_pix2world(own_xs, own_ys, 0), 0)
    for row, column in zip(rows.flat, columns.flat, strict=True):
        own_x, own_y = own_xs[row, column], own_ys[row, column]
        at_x, at_y = round(float(there_xs[row, column])), round(float(there_ys[row, column]))
        for b, band in enumerate(BANDS):
            if own_x >= 0:
                if own.images["invvar", band][own_y, own_x] > 0:
                    truth[row, column, b] = own.images["image", band][own_y, own_x]
            elif 0 <= at_x < WIDTH and 0 <= at_y < HEIGHT and other.images["invvar", band][at_y, at_x] > 0:
                truth[row, column, b] = other.images["image", band][at_y, at_x]
                n_from_neighbour += 1
    assert n_from_neighbour > 5000
    np.testing.assert_array_equal(sliced.pixels[0], truth)
    assert [source.name for source in sliced.sources[0]] == [OWN, other.name]
    # The two tangent planes are turned against each other, so the pixels do not just lie side by side.
    corner = other.wcs.all_world2pix(*own.wcs.all_pix2world([-35, -35], [28, 128], 0), 0)
    assert abs(corner[0][1] - corner[0][0]) > 0.05


def test_a_damaged_neighbour_fails_only_the_windows_that_reach_into_it(
    tmp_path: Path, eastern_edge: tuple[float, float, str]
) -> None:
    own, other = two_bricks(tmp_path, eastern_edge)
    for path in (tmp_path / "coadd" / other.name[:3] / other.name).iterdir():
        path.write_bytes(b"not FITS")
    inside, across = (120, 78), (15, 78)
    ra, dec = own.wcs.all_pix2world(*np.array([inside, across], float).T, 0)
    sliced = CoaddSource(str(tmp_path)).slice(Positions(own.name, ra, dec))
    assert [source.name for source in sliced.sources[0]] == [OWN]
    whole, damaged = sliced.failures
    assert whole is None
    assert damaged is not None
    assert other.name in damaged
    np.testing.assert_array_equal(sliced.pixels[0], CoaddSource(str(tmp_path)).slice(at(own, *inside)).pixels[0])


def test_a_neighbour_that_is_absent_or_lacks_a_band_leaves_the_pixels_missing(
    tmp_path: Path, eastern_edge: tuple[float, float, str]
) -> None:
    own, other = two_bricks(tmp_path, eastern_edge)
    folder = tmp_path / "coadd" / other.name[:3] / other.name
    (folder / f"legacysurvey-{other.name}-image-z.fits.fz").unlink()
    for _ in range(2):
        sliced = CoaddSource(str(tmp_path)).slice(at(own, 15, 78))
        assert np.isnan(sliced.pixels[0, :, :35]).all()
        assert np.isfinite(sliced.pixels[0, :, 35:]).any()
        assert [source.name for source in sliced.sources[0]] == [OWN]
        for path in folder.iterdir():
            path.unlink()


def test_many_windows_are_filled_as_each_would_be_alone(tmp_path: Path, eastern_edge: tuple[float, float, str]) -> None:
    own, _ = two_bricks(tmp_path, eastern_edge)
    places = [(15, 78), (120, 78), (30, 90), (5, 60), (200, 140)]
    ra, dec = own.wcs.all_pix2world(*np.array(places, float).T, 0)
    source = CoaddSource(str(tmp_path))
    together = source.slice(Positions(OWN, ra, dec))
    for i, (x, y) in enumerate(places):
        alone = source.slice(at(own, x, y))
        np.testing.assert_array_equal(together.pixels[i], alone.pixels[0])
        assert together.sources[i] == alone.sources[0]
