"""From the contents of a patch to its images.

Galaxies are drawn on a grid of half pixels, convolved with the band's Moffat by FFT and read off at pixel centres, so
the Moffat is the effective PSF, pixel included; stars are the Moffat itself. The noise is that of the sky, as the
inverse variance says, plus the Poisson noise of the sources' own photons, which the inverse variance leaves out (the
survey's is dominated by the background). Pixel noise is uncorrelated, unlike that of a resampled coadd.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import fft

from etl.mock.config import SkyConfig
from etl.mock.contents import Contents, patch_generator
from etl.mock.lensing import Arc, lensed_flux
from etl.mock.light import Ellipse, Floats, Image, clumps, moffat, ring_flux, sersic_flux
from etl.mock.population import BANDS, BLUE_COLOR, SIZE_SLOPE
from etl.mock.tangent import PIXEL_ARCSEC

IMAGE_BANDS = ("g", "r", "z")

_FINE = 2
_CELL = PIXEL_ARCSEC / _FINE
_KERNEL_ARCSEC = 8.0
_CCD_EDGE_SHARE = 0.3
_COLUMNS = [BANDS.index(band) for band in IMAGE_BANDS]
_BLUE = np.array([10 ** (-0.4 * BLUE_COLOR.get(band, 0.0)) for band in IMAGE_BANDS])


@dataclass(frozen=True)
class ArcTruth:
    """What was rendered of one arc, per image band: total lensed flux (nanomaggies, after dust) and S/N."""

    flux: dict[str, float]
    signal_to_noise: dict[str, float]
    magnification: float


@dataclass(frozen=True)
class Scene:
    """Images of one patch, each (3, n, n) in the order of `IMAGE_BANDS`, and the truth about its arcs.

    ``image`` nanomaggies, ``invvar`` nanomaggies^-2 (0 where masked), ``psf_fwhm`` arcsec (0 where masked).
    """

    image: Image
    invvar: Image
    psf_fwhm: Image
    arcs: tuple[ArcTruth, ...]


def render(contents: Contents, config: SkyConfig) -> Scene:
    """Render a patch; deterministic by seed."""
    light = galaxy_light(contents) + star_light(contents)
    sigma, masked = _noise_maps(contents, config)
    truths = []
    for arc, (x, y) in zip(contents.arcs, contents.xy, strict=False):
        truths.append(_add_arc(light, sigma, contents, arc, (float(x), float(y))))
    rng = patch_generator(contents.patch, config, stage=2)
    variance = sigma**2 + np.maximum(light, 0) / _electrons_per_nanomaggy(contents, config)[:, None, None]
    image = light + np.sqrt(variance) * rng.standard_normal(light.shape, np.float32)
    fwhm = np.array([contents.conditions.psf_fwhm[band] for band in IMAGE_BANDS], np.float32)[:, None, None]
    return Scene(
        image=np.where(masked, 0, image).astype(np.float32),
        invvar=np.where(masked, 0, sigma**-2).astype(np.float32),
        psf_fwhm=np.where(masked, 0, fwhm).astype(np.float32),
        arcs=tuple(truths),
    )


def galaxy_light(contents: Contents) -> Image:
    """Noiseless extended light, (3, n, n), nanomaggies after extinction."""
    side = contents.patch.tangent.n_pixels
    fine = np.zeros((3, side * _FINE, side * _FINE), np.float32)
    table, dust = contents.galaxies, _dust(contents)
    for i in np.flatnonzero(table.type != "PSF"):
        window, east, north = _window(contents.xy[i], _reach(contents, int(i)), side)
        if east.size == 0:
            continue
        shape = Ellipse(float(table.shape_r[i]), float(table.q[i]), float(table.pa_deg[i]))
        smooth = _smooth_light(contents, int(i), shape, (east, north))
        blue = table.blue_flux_r[i] * _BLUE
        fine[:, *window] += ((table.flux[i, _COLUMNS] - blue) * dust).astype(np.float32)[:, None, None] * smooth
        if table.blue_flux_r[i] > 0:
            around = Ellipse(float(table.blue_radius[i]), max(shape.q, 0.5), shape.pa_deg)
            ring = ring_flux(east, north, around, int(table.arms[i]), float(table.phase[i]))
            fine[:, *window] += (blue * dust).astype(np.float32)[:, None, None] * ring
    return _convolve(fine, contents)


def _smooth_light(contents: Contents, i: int, shape: Ellipse, offsets: tuple[Floats, Floats]) -> Image:
    """Unit-flux profile of one galaxy in the three bands, (3, rows, columns), or (1, ...) when it has no gradient."""
    table, n = contents.galaxies, float(contents.galaxies.sersic[i])
    slopes = [SIZE_SLOPE[band] for band in IMAGE_BANDS] if table.gradient[i] else [0.0]
    layers = []
    for slope in slopes:
        size = replace(shape, radius=shape.radius * (1 + slope * float(table.gradient[i])))
        layer = sersic_flux(*offsets, _CELL, size, n)
        layers.append(clumps(*offsets, layer, size, float(table.phase[i])) if table.clumpy[i] else layer)
    return np.stack(layers)


def star_light(contents: Contents) -> Image:
    """Noiseless point sources, (3, n, n), nanomaggies after extinction: catalogued as PSF, drawn as PSF."""
    side = contents.patch.tangent.n_pixels
    light = np.zeros((3, side, side), np.float32)
    pixel = np.arange(side)
    dust, conditions = _dust(contents), contents.conditions
    for i in np.flatnonzero(contents.galaxies.type == "PSF"):
        x, y = contents.xy[i]
        radius2 = (((pixel - x) ** 2)[None, :] + ((pixel - y) ** 2)[:, None]) * PIXEL_ARCSEC**2
        for b, band in enumerate(IMAGE_BANDS):
            psf = moffat(radius2, conditions.psf_fwhm[band], conditions.beta[band]) * PIXEL_ARCSEC**2
            light[b] += (contents.galaxies.flux[i, _COLUMNS[b]] * dust[b] * psf).astype(np.float32)
    return light


def _dust(contents: Contents) -> Floats:
    return np.array([contents.conditions.transmission(band) for band in IMAGE_BANDS])


def _reach(contents: Contents, i: int) -> float:
    """Half side (arcsec) of the window a galaxy is drawn in: Tractor, too, cuts its profiles at about 8 radii."""
    table = contents.galaxies
    radii = 8.0 if table.sersic[i] > 2.5 else 5.0
    rings = 2.5 * table.blue_radius[i] if table.blue_flux_r[i] > 0 else 0.0
    return float(max(radii * table.shape_r[i], rings, 3.0))


def _window(xy: Floats, reach: float, side: int) -> tuple[tuple[slice, slice], Floats, Floats]:
    """Rows and columns of the fine grid within ``reach`` of a position, and the cells' offsets (arcsec) from it."""
    slices, offsets = [], []
    for position in (xy[1], xy[0]):
        middle, half = position * _FINE, reach / _CELL
        low = int(np.clip(np.floor(middle - half), 0, side * _FINE))
        high = int(np.clip(np.ceil(middle + half) + 1, low, side * _FINE))
        slices.append(slice(low, high))
        offsets.append((np.arange(low, high) - middle) * _CELL)
    north, east = np.meshgrid(offsets[0], -offsets[1], indexing="ij")
    return (slices[0], slices[1]), east, north


def _convolve(fine: Image, contents: Contents) -> Image:
    """Convolve (3, m, m) fine-grid flux with each band's PSF and read it at pixel centres, in nanomaggies a pixel."""
    half = int(_KERNEL_ARCSEC / _CELL)
    size = fft.next_fast_len(fine.shape[-1] + half, real=True)
    lag = fft.fftfreq(size, 1 / size)
    radius2 = ((lag[:, None] ** 2 + lag[None, :] ** 2) * _CELL**2).astype(np.float32)
    kernels = np.zeros((3, size, size), np.float32)
    near = (np.abs(lag[:, None]) <= half) & (np.abs(lag[None, :]) <= half)
    for b, band in enumerate(IMAGE_BANDS):
        kernels[b][near] = moffat(radius2[near], contents.conditions.psf_fwhm[band], contents.conditions.beta[band])
        kernels[b] /= kernels[b].sum()
    spectrum = fft.rfft2(fine, (size, size)) * fft.rfft2(kernels)
    smooth = fft.irfft2(spectrum, (size, size))[:, : fine.shape[-1], : fine.shape[-1]]
    return np.asarray(smooth[:, ::_FINE, ::_FINE] * _FINE**2, np.float32)


def _add_arc(light: Image, sigma: Image, contents: Contents, arc: Arc, xy: tuple[float, float]) -> ArcTruth:
    """Add one lens's arcs to ``light`` in place."""
    side = light.shape[-1]
    reach = 2.2 * arc.theta_e + 5 * arc.source_radius + 1.0
    window, east, north = _window(np.array(xy), reach, side)
    unit = lensed_flux(east, north, _CELL, arc)
    pad = int(_KERNEL_ARCSEC / 2 / PIXEL_ARCSEC)
    rows, columns = (slice(max(s.start // _FINE - pad, 0), min(s.stop // _FINE + pad, side)) for s in window)
    shape = (3, (rows.stop - rows.start) * _FINE, (columns.stop - columns.start) * _FINE)
    fine = np.zeros((3, max(shape[1:]), max(shape[1:])), np.float32)
    source = np.array([10 ** (0.4 * (22.5 - arc.source_mag[band])) for band in IMAGE_BANDS]) * _dust(contents)
    offsets = (rows.start * _FINE, columns.start * _FINE)
    at = tuple(slice(s.start - low, s.stop - low) for s, low in zip(window, offsets, strict=True))
    fine[:, *at] = source.astype(np.float32)[:, None, None] * unit
    arcs = _convolve(fine, contents)[:, : rows.stop - rows.start, : columns.stop - columns.start]
    light[:, rows, columns] += arcs
    noise = sigma[:, rows, columns]
    return ArcTruth(
        flux={band: float(source[b] * unit.sum()) for b, band in enumerate(IMAGE_BANDS)},
        signal_to_noise={band: float(np.sqrt(((arcs[b] / noise[b]) ** 2).sum())) for b, band in enumerate(IMAGE_BANDS)},
        magnification=float(unit.sum()),
    )


def _noise_maps(contents: Contents, config: SkyConfig) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Sky noise per pixel and the masked pixels. In some patches a CCD edge divides slightly different depths."""
    rng = patch_generator(contents.patch, config, stage=1)
    side = contents.patch.tangent.n_pixels
    row, column = np.mgrid[:side, :side]
    shade = np.ones((3, side, side))
    for b in range(len(IMAGE_BANDS)):
        if rng.random() < _CCD_EDGE_SHARE:
            edge, along = rng.uniform(0.1, 0.9) * side, row if rng.random() < 0.5 else column
            shade[b] *= np.where(along < edge, 1.0, rng.uniform(0.95, 1.05))
    level = np.array([contents.conditions.pixel_sigma(band) for band in IMAGE_BANDS])
    masked = np.zeros((3, side, side), bool)
    if rng.random() < config.conditions.masked_patch_share:
        masked[rng.integers(3)] = _blemish(contents, rng)
    return (level[:, None, None] * shade).astype(np.float32), masked


def _blemish(contents: Contents, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A piece of a dead column or a round spot, away from every bright source."""
    side = contents.patch.tangent.n_pixels
    row, column = np.mgrid[:side, :side]
    x, y = rng.uniform(20, side - 20, 2)
    if rng.random() < 0.5:
        bad = (np.abs(column - x) <= 1) & (np.abs(row - y) <= rng.uniform(10, 40))
    else:
        bad = np.hypot(column - x, row - y) <= rng.uniform(2, 5)
    bright = contents.xy[~np.isin(contents.galaxies.role, ["faint", "star", "companion"])]
    for bx, by in bright:
        bad &= np.hypot(column - bx, row - by) > 14
    return np.asarray(bad)


def _electrons_per_nanomaggy(contents: Contents, config: SkyConfig) -> Image:
    table = config.conditions
    return np.array(
        [
            contents.conditions.nobs[band] * table.exposure_s[band] * 10 ** (0.4 * (table.zero_point_mag[band] - 22.5))
            for band in IMAGE_BANDS
        ],
        np.float32,
    )
