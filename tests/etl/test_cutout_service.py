"""The survey's cutout service, against a server on this machine that answers in its form, and misbehaves."""

from __future__ import annotations

import hashlib
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from astropy.wcs import WCS
from sqlalchemy import Connection, Engine, insert, select

from db.config import load_config
from db.errors import ConfigError
from db.models.catalog import Brick
from db.models.imaging import Cutout, CutoutSource, PixelSource
from db.models.sampling import DrawMember
from etl import bricks
from etl.cutouts.coadd import CoaddSource
from etl.cutouts.config import CutoutConfig
from etl.cutouts.files import read_pixels
from etl.cutouts.make import StoreAddress, make_cutouts
from etl.cutouts.service import ServiceConfig, ServiceSource
from etl.cutouts.service.limiter import shared_limiter
from etl.cutouts.source import Positions, Sliced
from etl.storage import LocalStore
from tests.builders import ARCSEC, insert_draw, insert_galaxies
from tests.etl.cutout_service_server import Asked, CutoutService, Reply, answer, cutout_service, resampled
from tests.etl.test_cutout_coadd import N, brick_wcs, write_brick

RA, DEC = 0.10618843138217926, -3.9557716846466064


def cube(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.01, 1, (3, 101, 101)).astype(np.float32)


def good(asked: Asked) -> Reply:
    ra, dec = float(asked.query["ra"]), float(asked.query["dec"])
    return Reply(answer(cube(), ra, dec))


def source(service: CutoutService, **settings: Any) -> ServiceSource:
    quick = {"requests_per_s": 200, "first_wait_s": 0.01, "longest_wait_s": 2, "timeout_s": 5, "n_attempts": 3}
    return ServiceSource(ServiceConfig(url=service.url, **(quick | settings)))


def positions(n: int = 1) -> Positions:
    return Positions("0001m040", RA + 0.01 * np.arange(n), np.full(n, DEC))


def sliced(script: Callable[[Asked], Reply], n: int = 1, **settings: Any) -> tuple[Sliced, list[Asked]]:
    with cutout_service(script) as service:
        return source(service, **settings).slice(positions(n)), service.asked


def test_the_address_is_the_one_that_the_published_cutouts_name(shared_data: Path) -> None:
    for path in sorted((shared_data / "cutouts").glob("*.npz")):
        meta = np.load(path)
        theirs = str(meta["meta_cutout_url"]).replace("layer=ls-dr10&", "layer=ls-dr10-south&")
        ours = ServiceConfig().url_of(meta["meta_ra"], meta["meta_dec"])
        assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)
        assert ours.split("?")[0] == theirs.split("?")[0]


def test_an_answer_becomes_pixels_with_the_bands_last_and_names_where_they_are_from() -> None:
    with cutout_service(good) as service:
        got = source(service).slice(positions(2))
        again = source(service).slice(positions(2))
    np.testing.assert_array_equal(got.pixels[0], np.moveaxis(cube(), 0, -1))
    assert (got.pixels.shape, got.pixels.dtype, got.conditions) == ((2, 101, 101, 3), np.float32, None)
    assert list(got.failures) == [None, None]
    assert [float(asked.query["ra"]) for asked in service.asked[:2]].count(RA) == 1
    body = good(Asked({"ra": repr(RA), "dec": repr(DEC)}, 0, 0)).body
    (version,) = got.sources[0]
    assert version.version == hashlib.sha256(body).hexdigest()
    assert version.uri == source(service).config.url_of(RA, DEC)
    assert [(file.uri, file.n_bytes, file.version) for file in version.files] == [
        (version.uri, len(body), version.version)
    ]
    assert list(again.sources) == list(got.sources)
    assert (version.kind, source(service).kind) == ("service", "service")


def test_the_servers_etag_is_the_version_where_there_is_one() -> None:
    got, _ = sliced(lambda asked: Reply(good(asked).body, headers={"ETag": '"abc"'}))
    assert got.sources[0][0].version == '"abc"'


def test_zeros_grown_by_the_kernel_are_missing_in_their_band_and_so_is_nan() -> None:
    holed = cube()
    holed[0, 20:30, 40:45] = 0
    holed[1, 7, 9] = np.nan
    holed[2] = 0
    got, _ = sliced(lambda _: Reply(answer(holed, RA, DEC)))
    missing = np.isnan(got.pixels[0])
    assert missing.sum(axis=(0, 1)).tolist() == [16 * 11, 1, 101 * 101]
    assert missing[17:33, 37:48, 0].all()
    assert missing[7, 9, 1]
    assert got.failures[0] is None


PASSING: dict[str, Callable[[bytes], Reply]] = {
    "500": lambda _: Reply(b"sorry", 500),
    "503": lambda _: Reply(b"busy", 503, {"Retry-After": "0"}),
    "429": lambda _: Reply(b"slower", 429, {"Retry-After": "0"}),
    "reset": lambda _: Reply(reset=True),
    "hung up amid the body": lambda body: Reply(body, sent=60_000),
    "short amid a block": lambda body: Reply(body[:60_000]),
    "short at a block's end": lambda body: Reply(body[: 2880 * 20]),
    "short amid the header": lambda body: Reply(body[:2000]),
    "nothing": lambda _: Reply(b""),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_asked_again_and_the_cutout_is_whole(fault: str) -> None:
    def script(asked: Asked) -> Reply:
        reply = good(asked)
        return PASSING[fault](reply.body) if asked.n_before < 2 else reply

    got, asked = sliced(script)
    assert list(got.failures) == [None]
    np.testing.assert_array_equal(got.pixels[0], np.moveaxis(cube(), 0, -1))
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [("500", "HTTP 500"), ("reset", "no whole answer"), ("nothing", "0 bytes"), ("hung up amid the body", "no whole")],
)
def test_a_fault_that_stays_fails_its_target_in_one_line_and_the_others_go_on(fault: str, words: str) -> None:
    def script(asked: Asked) -> Reply:
        reply = good(asked)
        return PASSING[fault](reply.body) if float(asked.query["ra"]) == RA else reply

    got, asked = sliced(script, n=4)
    assert [failure is None for failure in got.failures] == [False, True, True, True]
    assert len(asked) == 3 + 3
    failure = str(got.failures[0])
    assert words in failure
    assert f"?ra={RA}" in failure
    assert "\n" not in failure
    assert np.isnan(got.pixels[0]).all()
    assert got.sources[0] == ()
    assert np.isfinite(got.pixels[1:]).all()


WRONG: dict[str, tuple[Callable[[], Reply], str]] = {
    "html": (lambda: Reply(b"<html><body>\n<h1>Down for maintenance</h1>"), "no FITS file, it begins with '<html>"),
    "unknown layer": (lambda: Reply(b"no such layer"), "'no such layer'"),
    "404": (lambda: Reply(b"", 404), "HTTP 404"),
    "400": (lambda: Reply(b"Need ra,dec keywords", 400), "HTTP 400"),
    "bands": (lambda: Reply(answer(cube(), RA, DEC, BANDS="gri", BAND2="i")), "bands are gri (g, r, i), expected grz"),
    "band order": (lambda: Reply(answer(cube(), RA, DEC, BAND0="r", BAND1="g")), "(r, g, z)"),
    "no bands": (lambda: Reply(answer(cube(), RA, DEC, BANDS=None)), "bands are ?"),
    "size": (lambda: Reply(answer(cube()[:, :64, :64], RA, DEC)), "(3, 64, 64)"),
    "one band": (lambda: Reply(answer(cube()[0], RA, DEC)), "(101, 101)"),
    "no image": (lambda: Reply(answer(None, RA, DEC)), "shape ()"),  # type: ignore[arg-type]
    "doubles": (lambda: Reply(answer(cube().astype(float), RA, DEC)), "BITPIX -64"),
    "merged layer": (
        lambda: Reply(answer(cube(), RA, DEC, SURVEY="LegacySurvey", VERSION="DR10")),
        "LegacySurvey DR10, expected DECaLS DR10-south (layer ls-dr10-south)",
    ),
    "older release": (lambda: Reply(answer(cube(), RA, DEC, VERSION="DR9-south")), "of DECaLS DR9-south"),
    "no layer": (lambda: Reply(answer(cube(), RA, DEC, SURVEY=None)), "of nothing DR10-south"),
    "model": (lambda: Reply(answer(cube(), RA, DEC, IMAGETYP="model")), "of the kind model"),
    "unit": (lambda: Reply(answer(cube(), RA, DEC, BUNIT="Jy")), "is in Jy"),
    "scale": (lambda: Reply(answer(cube(), RA, DEC, CD1_1=-0.2622 / 3600, CD2_2=0.2622 / 3600)), "0.2622 arcsec"),
    "upside down": (lambda: Reply(answer(cube(), RA, DEC, CD2_2=-0.262 / 3600)), "not north up"),
    "elsewhere": (lambda: Reply(answer(cube(), RA, DEC + 0.2 / 3600)), "its centre is 0.76 pixels"),
    "far away": (lambda: Reply(answer(cube(), RA + 180, -DEC)), "position"),
    "no projection": (lambda: Reply(answer(cube(), RA, DEC, CRVAL1=None)), "no usable projection"),
    "infinite": (lambda: Reply(answer(np.where(cube() > 2, np.inf, cube()), RA, DEC)), "infinite"),
    "endless": (lambda: Reply(bytes(5 << 20)), "more than 4,194,304 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_answer_is_refused_at_once_in_one_line(fault: str) -> None:
    reply, words = WRONG[fault]
    got, asked = sliced(lambda _: reply())
    assert len(asked) == 1
    assert words in str(got.failures[0])
    assert "\n" not in str(got.failures[0])
    assert np.isnan(got.pixels).all()


def test_answers_in_the_form_of_the_service_pass_with_small_shifts_and_a_stated_unit() -> None:
    shift = 0.4 * 0.262 / 3600
    got, _ = sliced(lambda _: Reply(answer(cube(), RA, DEC + shift, BUNIT="nanomaggy", IMAGETYP="image")))
    assert list(got.failures) == [None]


@pytest.mark.parametrize("fault", [{"wait_s": 30.0}, {"drip_s": 0.05}])
def test_a_slow_answer_ends_at_the_time_limit_and_is_asked_again(fault: dict[str, float]) -> None:
    def script(asked: Asked) -> Reply:
        return Reply(good(asked).body, **(fault if asked.n_before == 0 else {}))  # type: ignore[arg-type]

    began = time.monotonic()
    got, asked = sliced(script, timeout_s=0.4)
    assert list(got.failures) == [None]
    assert len(asked) == 2
    assert time.monotonic() - began < 2


def test_all_threads_of_all_sources_together_keep_below_the_rate() -> None:
    with cutout_service(good) as service:
        for first in (source(service, requests_per_s=25, n_threads=8), source(service, requests_per_s=25, n_threads=3)):
            assert not any(first.slice(positions(12)).failures)
    apart = np.diff([asked.at for asked in service.asked])
    assert len(apart) == 23
    # The limiter paces the sending; the two ends of a pair may travel a little differently.
    assert apart.min() > 0.02
    assert apart.sum() >= 23 / 25 * 0.99


def test_threads_that_begin_together_share_one_limiter() -> None:
    for number in range(50):
        with ThreadPoolExecutor(8) as threads:
            found = set(threads.map(lambda _: shared_limiter(f"http://{number}/", 1.0), range(8)))  # noqa: B023
        assert len(found) == 1


def test_retry_after_holds_back_every_thread() -> None:
    def script(asked: Asked) -> Reply:
        is_first = float(asked.query["ra"]) == RA and asked.n_before == 0
        return Reply(b"", 429, {"Retry-After": "1"}) if is_first else good(asked)

    got, asked = sliced(script, n=6, n_threads=2, requests_per_s=10)
    assert not any(got.failures)
    apart = np.diff([one.at for one in asked])
    assert apart.max() >= 0.95
    assert len(asked) == 7


def test_a_retry_after_beyond_the_longest_wait_is_cut_to_it() -> None:
    def script(asked: Asked) -> Reply:
        return Reply(b"", 429, {"Retry-After": "3600"}) if asked.n_before == 0 else good(asked)

    began = time.monotonic()
    got, _ = sliced(script, longest_wait_s=0.3)
    assert not any(got.failures)
    assert 0.3 <= time.monotonic() - began < 3


def test_nobody_at_the_address_fails_every_target_in_one_line() -> None:
    with cutout_service(good) as service:
        pass
    got = source(service).slice(positions(2))
    for failure in got.failures:
        assert "refused" in str(failure)
        assert "\n" not in str(failure)


def test_no_targets_are_no_requests() -> None:
    got, asked = sliced(good, n=0)
    assert (got.pixels.shape, list(got.failures), asked) == ((0, 101, 101, 3), [], [])


def test_a_source_travels_to_another_process() -> None:
    made = ServiceSource(ServiceConfig())
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301


def test_settings_that_would_do_harm_are_refused() -> None:
    for wrong in ({"layer": "ls-dr10"}, {"requests_per_s": 0}, {"url": "ftp://x/y"}, {"url": "http://x/?layer=a"}):
        with pytest.raises(ConfigError):
            load_config(ServiceConfig, None, **wrong)


def some_brick(folder: Path) -> tuple[dict[str, np.ndarray], WCS]:
    """Coadds with their reference point on a pixel, and a hole as the survey's have it: zeros without weight."""
    rng = np.random.default_rng(5)
    images = {band: rng.normal(size=(N, N)).astype(np.float32) for band in "grz"}
    weight = {band: np.ones((N, N), np.float32) for band in "grz"}
    images["r"][150:160, 100:112], weight["r"][150:160, 100:112] = 0, 0
    wcs = brick_wcs()
    wcs.wcs.crpix = [121, 119]
    write_brick(folder, images, weight, wcs)
    return images, wcs


def test_the_service_and_the_coadds_give_the_same_pixels_where_their_grids_agree(tmp_path: Path) -> None:
    images, wcs = some_brick(tmp_path)
    reference = tuple(float(value) for value in wcs.wcs.crval)
    beside = tuple(float(value) for value in wcs.all_pix2world(90.3, 140.0, 0))
    targets = Positions("0001m040", *(np.array(values) for values in zip(reference, beside, strict=True)))

    def script(asked: Asked) -> Reply:
        ra, dec = float(asked.query["ra"]), float(asked.query["dec"])
        bands = [resampled(images[band], wcs, ra, dec) for band in "grz"]
        return Reply(answer(np.stack(bands), ra, dec))

    with cutout_service(script) as service:
        theirs = source(service).slice(targets)
    ours = CoaddSource(str(tmp_path)).slice(targets)
    assert list(theirs.failures) == [None, None]
    hole, theirs_hole = np.isnan(ours.pixels[0]), np.isnan(theirs.pixels[0])
    assert (hole.sum(), hole[..., 1].sum()) == (120, 120)
    assert theirs_hole[hole].all()
    assert theirs_hole.sum() <= 16 * 18
    both = ~theirs_hole
    np.testing.assert_allclose(theirs.pixels[0][both], ours.pixels[0][both], rtol=0, atol=1e-5)
    # The other target lies between pixels: there the service interpolates and the coadds are cut at whole pixels.
    assert np.nanmax(np.abs(theirs.pixels[1] - ours.pixels[1])) > 0.1


def insert_members(connection: Connection, n: int) -> list[int]:
    brickid = int(bricks.brick_of_name(["0001m040"])[0])
    keys = (10_000 << 40) + (brickid << 16) + np.arange(n, dtype=np.int64)
    ra, dec = RA + 30 * ARCSEC * np.arange(n), np.full(n, DEC)
    psf = np.linspace(1.0, 1.5, n).astype(np.float32)
    galaxies = insert_galaxies(connection, ra, dec, ls_id=keys, psf_fwhm_r_arcsec=psf)
    connection.execute(insert(Brick).values(survey="dr10", data_release=10, brickid=brickid, brickname="0001m040"))
    draw_id, stratum_id = insert_draw(connection)
    member = {"draw_id": draw_id, "label": 0, "pool": "N1", "stratum_id": stratum_id, "healpix_128": 1, "weight": 1}
    places = zip(galaxies.tolist(), ra.tolist(), dec.tolist(), strict=True)
    members = [{"ls_id": key, "ra": r, "dec": d, "inclusion_probability": 0.5} | member for key, r, d in places]
    connection.execute(insert(DrawMember), members)
    return [int(key) for key in galaxies]


def test_a_draw_is_made_from_the_service_and_the_next_run_asks_only_for_what_failed(
    engine: Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        galaxies = insert_members(connection, 5)
    is_broken = True

    def script(asked: Asked) -> Reply:
        return Reply(b"", 500) if is_broken and float(asked.query["ra"]) == RA else good(asked)

    with cutout_service(script) as service:
        config = CutoutConfig(draw="d", source="service", service=source(service).config)
        address = StoreAddress(str(tmp_path / "store"))
        first = make_cutouts(engine, config, address)
        assert (first.n_failed_targets, first.n_by_status["ok"]) == (1, 4)
        assert first.failed == [f"{config.service.url_of(RA, DEC)}: the service answers HTTP 500"]
        n_asked = len(service.asked)
        assert n_asked == 4 + 3
        is_broken = False
        second = make_cutouts(engine, config, address)
        assert (second.n_present, second.n_by_status["ok"], second.failed) == (4, 1, [])
        assert [float(asked.query["ra"]) for asked in service.asked[n_asked:]] == [RA]
        assert make_cutouts(engine, config, address).n_present == 5
        assert len(service.asked) == n_asked + 1
    with engine.connect() as connection:
        rows = connection.execute(
            select(Cutout.ls_id, Cutout.uri, Cutout.source, Cutout.psf_fwhm_r_arcsec, Cutout.conditions_source)
            .add_columns(PixelSource.kind, PixelSource.uri.label("asked"), Cutout.ra, Cutout.dec)
            .join(CutoutSource, CutoutSource.cutout_id == Cutout.cutout_id)
            .join(PixelSource, PixelSource.pixel_source_id == CutoutSource.pixel_source_id)
            .order_by(Cutout.ls_id)
        ).all()
    assert [row.ls_id for row in rows] == galaxies
    assert {(row.source, row.kind, row.conditions_source) for row in rows} == {("service", "service", "sweep")}
    assert [row.psf_fwhm_r_arcsec for row in rows] == pytest.approx(np.linspace(1.0, 1.5, 5))
    assert [row.asked for row in rows] == [config.service.url_of(row.ra, row.dec) for row in rows]
    for row in rows:
        pixels = read_pixels(LocalStore(tmp_path / "store").get_bytes(row.uri))
        np.testing.assert_array_equal(pixels, np.moveaxis(cube(), 0, -1))
