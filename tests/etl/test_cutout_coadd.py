"""Slicing bricks, against astropy's own cutouts."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from moto.server import ThreadedMotoServer

from etl.cutouts.brick import reject_reason
from etl.cutouts.coadd import CoaddSource
from etl.cutouts.source import Positions
from etl.cutouts.windows import read_windows, windows_around
from etl.errors import CoaddError
from etl.storage import open_store
from tests.etl.coadd_bricks import BrickImages, write_images

BRICK = "0001m040"
N = 240


def brick_wcs(ra: float = 0.001, dec: float = -4.0) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(N + 1) / 2, (N + 1) / 2]
    wcs.wcs.cd = np.diag([-0.262 / 3600, 0.262 / 3600])
    return wcs


def write_brick(root: Path, images: dict[str, np.ndarray], invvar: dict[str, np.ndarray], wcs: WCS) -> Path:
    folder = root / "coadd" / BRICK[:3] / BRICK
    folder.mkdir(parents=True, exist_ok=True)
    header = wcs.to_header()
    for name in ("PC1_1", "PC1_2", "PC2_1", "PC2_2", "CDELT1", "CDELT2"):
        header.remove(name, ignore_missing=True)
    cd = wcs.pixel_scale_matrix
    header.update({"CD1_1": cd[0, 0], "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": cd[1, 1]})
    for band, image in images.items():
        for kind, pixels in (("image", image), ("invvar", invvar[band])):
            hdu = fits.CompImageHDU(pixels, header, compression_type="GZIP_1", quantize_level=0)
            fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(
                folder / f"legacysurvey-{BRICK}-{kind}-{band}.fits.fz", overwrite=True
            )
    return folder


@pytest.fixture
def pixels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {band: rng.normal(size=(N, N)).astype(np.float32) for band in "grz"}


@pytest.fixture
def weight() -> dict[str, np.ndarray]:
    return {band: np.ones((N, N), np.float32) for band in "grz"}


def some_positions(wcs: WCS) -> Positions:
    x = np.array([119.5, 119.51, 60.2, 10.3, 239.2, 150.49])
    y = np.array([119.5, 119.49, 180.7, 100.0, 5.0, 88.6])
    ra, dec = wcs.all_pix2world(x, y, 0)
    return Positions(BRICK, ra % 360, dec)


def test_slices_equal_astropy_cutouts_also_over_the_edges(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    wcs = brick_wcs()
    write_brick(tmp_path, pixels, weight, wcs)
    position = some_positions(wcs)
    stack = CoaddSource(str(tmp_path)).slice(position).pixels
    assert stack.shape == (6, 101, 101, 3)
    assert stack.dtype == np.float32
    assert np.isnan(stack).any()
    for i, (ra, dec) in enumerate(zip(position.ra, position.dec, strict=True)):
        if i == 0:
            continue  # half-way between pixels: astropy and the projection's rounding may differ
        for b, band in enumerate("grz"):
            truth = Cutout2D(pixels[band], SkyCoord(ra, dec, unit="deg"), 101, wcs, mode="partial", fill_value=np.nan)
            np.testing.assert_array_equal(stack[i, ..., b], truth.data)


def test_the_pixel_that_holds_the_position_is_the_middle_one(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    wcs = brick_wcs()
    write_brick(tmp_path, pixels, weight, wcs)
    ra, dec = wcs.all_pix2world([100.0], [130.0], 0)
    stack = CoaddSource(str(tmp_path)).slice(Positions(BRICK, ra % 360, dec)).pixels
    assert stack[0, 50, 50, 1] == pixels["r"][130, 100]


def test_pixels_without_inverse_variance_are_nan_in_their_band_only(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    weight["z"][100:110, 90:95] = 0
    wcs = brick_wcs()
    write_brick(tmp_path, pixels, weight, wcs)
    ra, dec = wcs.all_pix2world([100.0], [130.0], 0)
    stack = CoaddSource(str(tmp_path)).slice(Positions(BRICK, ra % 360, dec)).pixels[0]
    missing = np.isnan(stack)
    assert missing.sum(axis=(0, 1)).tolist() == [0, 0, 50]
    assert missing[20:30, 40:45, 2].all()


def test_only_the_part_of_a_window_that_is_inside_the_image_has_pixels() -> None:
    image = np.ones((N, N), np.float32)
    windows = windows_around(np.array([-0.6, 239.4, np.nan, 1e9, -50.6]), np.array([5.0, 239.4, 5.0, 5.0, 5.0]), 101)
    cut = read_windows(image, image.shape, windows)
    assert np.isfinite(cut).sum(axis=(1, 2)).tolist() == [50 * 56, 51 * 51, 0, 0, 0]


def test_missing_and_broken_files_are_named(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    wcs, source = brick_wcs(), CoaddSource(str(tmp_path))
    position = some_positions(wcs)
    with pytest.raises(CoaddError, match=r"0001m040.*image-r"):
        source.slice(position)
    folder = write_brick(tmp_path, pixels, weight, wcs)
    (folder / f"legacysurvey-{BRICK}-invvar-z.fits.fz").unlink()
    with pytest.raises(CoaddError, match="invvar-z"):
        source.slice(position)
    broken = folder / f"legacysurvey-{BRICK}-image-g.fits.fz"
    write_brick(tmp_path, pixels, weight, wcs)
    broken.write_bytes(broken.read_bytes()[:4000])
    with pytest.raises(CoaddError, match="image-g") as caught:
        source.slice(position)
    assert "\n" not in str(caught.value)


def test_bands_with_another_projection_are_refused(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    write_brick(tmp_path, pixels, weight, brick_wcs())
    write_brick(tmp_path, {"z": pixels["z"]}, {"z": weight["z"]}, brick_wcs(dec=-4.001))
    with pytest.raises(CoaddError, match="band z has another"):
        CoaddSource(str(tmp_path)).slice(some_positions(brick_wcs()))


@pytest.mark.parametrize(
    ("fraction", "near", "words"),
    [
        ((0.0, 0.05, 0.0), (False, False, False), None),
        ((0.0, 0.0501, 0.0), (False, False, False), "lack data in r"),
        ((0.001, 0.0, 0.001), (False, False, True), "centre lack data in z"),
        ((1.0, 0.0, 0.0), (True, False, False), "no data in g"),
    ],
)
def test_the_limits_on_missing_pixels(fraction: tuple[float, ...], near: tuple[bool, ...], words: str | None) -> None:
    reason = reject_reason(np.array(fraction), np.array(near))
    assert (reason is None) if words is None else (reason is not None and words in reason)


def test_bricks_in_a_bucket_give_the_same_pixels(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    folder = write_brick(tmp_path, pixels, weight, brick_wcs())
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="survey")
        remote = open_store("s3://survey/dr10/south", f"http://{host}:{port}")
        for file in folder.iterdir():
            remote.put_bytes(file.relative_to(tmp_path).as_posix(), file.read_bytes())
        position = some_positions(brick_wcs())
        here = CoaddSource(str(tmp_path)).slice(position)
        there = CoaddSource("s3://survey/dr10/south", f"http://{host}:{port}").slice(position)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert there.sources[0][0].uri == f"s3://survey/dr10/south/coadd/000/{BRICK}"
        sizes = [sorted(file.n_bytes for file in of.sources[0][0].files) for of in (there, here)]
        assert sizes[0] == sizes[1]
    finally:
        server.stop()


def test_bricks_on_a_web_server_give_the_same_pixels(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    write_brick(tmp_path, pixels, weight, brick_wcs())
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            place = f"http://127.0.0.1:{server.server_port}"
            position = some_positions(brick_wcs())
            there, here = CoaddSource(place).slice(position), CoaddSource(str(tmp_path)).slice(position)
            np.testing.assert_array_equal(there.pixels, here.pixels)
            assert there.sources[0][0].uri == f"{place}/coadd/000/{BRICK}"
            with pytest.raises(CoaddError, match="no legacysurvey-0002m040-image-r"):
                CoaddSource(place).slice(Positions("0002m040", position.ra, position.dec))
        finally:
            server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_many_targets_are_cut_from_whole_images_as_few_are_from_tiles(
    tmp_path: Path, pixels: dict[str, np.ndarray], weight: dict[str, np.ndarray]
) -> None:
    wcs = brick_wcs()
    weight["r"][30:60, 100:140] = 0
    images = {("image", band): image for band, image in pixels.items()}
    images |= {("invvar", band): image for band, image in weight.items()}
    write_images(tmp_path, BrickImages(BRICK, wcs, images), tile=60)
    x, y = np.random.default_rng(2).uniform(0, N - 1, (2, 40))
    ra, dec = wcs.all_pix2world(x, y, 0)
    source = CoaddSource(str(tmp_path))
    together = source.slice(Positions(BRICK, ra % 360, dec)).pixels
    for i in range(len(x)):
        np.testing.assert_array_equal(
            together[i], source.slice(Positions(BRICK, ra[i : i + 1] % 360, dec[i : i + 1])).pixels[0]
        )
