"""Cutting targets out of a full brick: against plain fitsio, against astropy, and how fast from memory to files."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import fitsio
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from numpy.typing import NDArray
from rich.console import Console

from etl.cutouts.brick import Piece, Places, write_cutouts
from etl.cutouts.coadd import CoaddSource, cut_windows
from etl.cutouts.files import BANDS, N_PIXELS, Cutout, write_cutout
from etl.cutouts.meta import Gaps, Target, meta_of
from etl.cutouts.planes import Plane
from etl.cutouts.source import Positions, Sliced, SourceVersion
from etl.cutouts.windows import Windows
from etl.storage import LocalStore
from tests.bench.cutouts.brick_files import BRICK, write_brick
from tests.bench.cutouts.sizes import Sizes
from tests.bench.limits import Measure, median

Ints = NDArray[np.int64]

N_IN_MEMORY = 500
N_ASTROPY = 2
"""Cutouts that are made one at a time with astropy in a repetition; each opens and unpacks three whole images."""

KINDS = ("image", "invvar", "psfsize", "nexp")
SOURCE = SourceVersion("coadd", BRICK, "bench", "1", ())
WHOLE = Gaps((0, 0, 0), 0, 1)


def measure(folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Measure each number of targets, then the rate from memory, then astropy."""
    files = write_brick(folder, sizes.brick_pixels)
    source = CoaddSource(str(folder))
    measures: list[Measure] = []
    (whole,) = _in_turn([lambda: _full_read(files)], sizes.n_repeats)
    measures.append(median("full read with fitsio", whole, "ms"))
    for n in sizes.n_targets:
        measures += _against_fitsio(files, source, n, sizes, measures[0].value)
        out.print(f"{measures[-1].name}: {measures[-1].value:.2f}")
    measures += _from_memory(folder, files, sizes)
    measures += _against_astropy(files, source, sizes)
    return measures


def _corners(n: int, n_pixels: int) -> Ints:
    """Lowest pixels (row, column) of windows that lie inside the image; shape (n, 2)."""
    return np.random.default_rng(n).integers(0, n_pixels - N_PIXELS, (n, 2))


def _positions(files: Path, corners: Ints) -> Positions:
    """Sky positions of the windows' middle pixels, by astropy."""
    header = fits.getheader(files / f"legacysurvey-{BRICK}-image-g.fits.fz", 1)
    half = N_PIXELS // 2
    ra, dec = WCS(header).all_pix2world(corners[:, 1] + half, corners[:, 0] + half, 0)
    return Positions(BRICK, ra, dec)


def _against_fitsio(files: Path, source: CoaddSource, n: int, sizes: Sizes, whole_ms: float) -> list[Measure]:
    """Time ours and a tile read in turn; they and the full read give pixels, inverse variance, both maps, a header."""
    corners = _corners(n, sizes.brick_pixels)
    positions = _positions(files, corners)
    _same(source.slice(positions).pixels, _tile_read(files, corners))
    n_repeats = sizes.n_repeats * max(1, 100 // n)
    ours, tiles = _in_turn([lambda: source.slice(positions), lambda: _tile_read(files, corners)], n_repeats)
    cheaper = min(whole_ms, float(np.median(tiles)))
    return [
        median(f"{n} targets, ours", ours, "ms"),
        median(f"{n} targets, tile read with fitsio", tiles, "ms"),
        Measure(f"{n} targets, ours over the cheaper", float(np.median(ours)) / cheaper, "x", at_most=1.3),
    ]


def _full_read(files: Path) -> None:
    fitsio.read_header(str(files / f"legacysurvey-{BRICK}-image-g.fits.fz"), ext=1)
    for kind in KINDS:
        for band in BANDS:
            with fitsio.FITS(str(files / f"legacysurvey-{BRICK}-{kind}-{band}.fits.fz")) as file:
                file[1].read()


def _tile_read(files: Path, corners: Ints) -> dict[tuple[str, str], list[NDArray[np.generic]]]:
    """Read each window of pixels, the middle pixel of the maps, and the header that says where positions lie."""
    half = N_PIXELS // 2
    fitsio.read_header(str(files / f"legacysurvey-{BRICK}-image-g.fits.fz"), ext=1)
    found: dict[tuple[str, str], list[NDArray[np.generic]]] = {}
    for kind in KINDS:
        low, size = (0, N_PIXELS) if kind in {"image", "invvar"} else (half, 1)
        for band in BANDS:
            with fitsio.FITS(str(files / f"legacysurvey-{BRICK}-{kind}-{band}.fits.fz")) as file:
                image = file[1]
                found[kind, band] = [
                    image[row + low : row + low + size, column + low : column + low + size]
                    for row, column in corners.tolist()
                ]
    return found


def _same(pixels: NDArray[np.float32], read: dict[tuple[str, str], list[NDArray[np.generic]]]) -> None:
    """What is compared must be the same work: the same pixels, masked."""
    for b, band in enumerate(BANDS):
        image, invvar = (np.stack(read[kind, band]) for kind in ("image", "invvar"))
        np.testing.assert_array_equal(pixels[..., b], np.where(invvar > 0, image, np.nan))


def _from_memory(folder: Path, files: Path, sizes: Sizes) -> list[Measure]:
    """Time cutting, hashing and writing while the brick's images are in memory, without and with what is measured."""
    images = {
        (kind, band): fitsio.read(str(files / f"legacysurvey-{BRICK}-{kind}-{band}.fits.fz"))
        for kind in ("image", "invvar")
        for band in BANDS
    }
    planes = {which: Plane("memory", (image.shape[0], image.shape[1]), image) for which, image in images.items()}
    corners = _corners(N_IN_MEMORY, sizes.brick_pixels)
    windows = Windows(corners[:, 1], corners[:, 0], N_PIXELS)
    root = folder / "store"
    store, places = LocalStore(root), Places(str(root), None, "mock", "v1")
    plain, whole = [], []
    for repeat in range(max(3, sizes.n_repeats)):
        targets = [_target(i, repeat) for i in range(N_IN_MEMORY)]
        start = time.perf_counter()
        pixels, _ = cut_windows(planes, windows, is_whole=False)
        for target, image in zip(targets, pixels, strict=True):
            data = write_cutout(Cutout(image, meta_of(target, BRICK, "mock", SOURCE, WHOLE)))
            hashlib.sha256(data).hexdigest()
            store.put_bytes(target.key, data)
        middle = time.perf_counter()
        pixels, _ = cut_windows(planes, windows, is_whole=False)
        sliced = Sliced(pixels, [(SOURCE,)] * N_IN_MEMORY, [None] * N_IN_MEMORY, None)
        piece = Piece(BRICK, tuple(_target(i, repeat + 1000) for i in range(N_IN_MEMORY)), {})
        made = list(write_cutouts(places, piece, sliced, list(range(N_IN_MEMORY))))
        plain.append(N_IN_MEMORY / (middle - start))
        whole.append(N_IN_MEMORY / (time.perf_counter() - middle))
        if len(made) != N_IN_MEMORY:
            raise RuntimeError(f"{len(made)} of {N_IN_MEMORY} cutouts were made")
    shutil.rmtree(root)
    return [
        median("brick in memory: cut, checksummed, written", plain, "cutouts/s", at_least=2500),
        median("brick in memory: judged and measured (v1) too", whole, "cutouts/s"),
    ]


def _target(index: int, repeat: int) -> Target:
    key = f"cutouts/negatives/bench/{repeat}_{index}.npz"
    return Target(index, key, f"{BRICK}_{index}", 0, 0.1, -4.0, "", 1.0, 5, "SER")


def _against_astropy(files: Path, source: CoaddSource, sizes: Sizes) -> list[Measure]:
    """Time one cutout after the other, each from its files, as one would by hand."""
    n = 30 if 30 in sizes.n_targets else max(sizes.n_targets)
    positions = _positions(files, _corners(n, sizes.brick_pixels))

    def by_hand() -> None:
        for ra, dec in list(zip(positions.ra, positions.dec, strict=True))[:N_ASTROPY]:
            for band in BANDS:
                with fits.open(files / f"legacysurvey-{BRICK}-image-{band}.fits.fz") as file:
                    Cutout2D(file[1].data, SkyCoord(ra, dec, unit="deg"), N_PIXELS, WCS(file[1].header))

    ours, theirs = _in_turn([lambda: source.slice(positions), by_hand], max(1, sizes.n_repeats // 2))
    fast = median(f"{n} targets, ours, each", [value / n for value in ours], "ms")
    slow = median("one at a time, astropy Cutout2D, each", [value / N_ASTROPY for value in theirs], "ms")
    return [fast, slow, Measure(f"{n} targets, faster than astropy", slow.value / fast.value, "x", at_least=20)]


def _in_turn(works: Sequence[Callable[[], object]], n_repeats: int) -> list[list[float]]:
    """Time pieces of work by turns, after each was done once; milliseconds."""
    times: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(n_repeats):
        for work, found in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            found.append((time.perf_counter() - start) * 1000)
    return times
