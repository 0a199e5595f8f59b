"""Sweep rows of a patch, and the 5 x 5 degree files that hold them."""

from __future__ import annotations

from pathlib import Path

import fitsio
import numpy as np
import numpy.typing as npt

from etl.mock.columns import sweep_dtype
from etl.mock.conditions import EXTINCTION, SURVEY_BANDS
from etl.mock.config import SkyConfig
from etl.mock.contents import Contents, patch_generator
from etl.mock.light import Image
from etl.mock.population import BANDS
from etl.mock.scene import IMAGE_BANDS
from etl.survey import MOCK_RELEASE

Rows = npt.NDArray[np.void]

_BOX_DEG = 5
_WISE_IVAR = {"W1": 4.0, "W2": 1.0, "W3": 1e-3, "W4": 1.3e-5}
_BIT_BRIGHT, _BIT_MEDIUM = 1 << 1, 1 << 11
_BIT_ALLMASK = {"g": 1 << 5, "r": 1 << 6, "z": 1 << 7}
_BRIGHT_SHARE = 0.01


def sweep_rows(contents: Contents, invvar: Image, config: SkyConfig) -> Rows:
    """Catalogue of one patch in DR10's 130 columns, as Tractor would measure it, in random order of objid.

    Fluxes carry the noise that their inverse variance states; shapes are those rendered, with Tractor's ellipticity
    e = (1 - q) / (1 + q), e1 = e cos 2 pa, e2 = e sin 2 pa. A deflector's row holds the galaxy without its arcs.
    """
    rng = patch_generator(contents.patch, config, stage=3)
    chosen = rng.permutation(np.flatnonzero(contents.catalogued))
    rows = np.zeros(chosen.size, sweep_dtype())
    _identify(rows, contents, chosen, rng)
    _photometry(rows, contents, chosen, rng)
    _conditions(rows, contents)
    _shapes(rows, contents, chosen)
    _masks(rows, contents, chosen, invvar, rng)
    _gaia(rows, contents, chosen)
    return rows


def _identify(rows: Rows, contents: Contents, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    patch = contents.patch
    rows["RELEASE"], rows["BRICKID"] = MOCK_RELEASE, patch.brickid
    rows["BRICKNAME"] = patch.brickname.encode()
    rows["OBJID"] = np.arange(chosen.size)
    rows["TYPE"] = contents.galaxies.type[chosen].astype("S3")
    x, y = contents.xy[chosen].T
    ra, dec = patch.tangent.to_sky(x, y)
    # Centroid error: half the FWHM over S/N, at least a milliarcsecond.
    signal = contents.galaxies.flux[chosen, BANDS.index("r")] * np.sqrt(contents.conditions.galaxy_depth("r"))
    error = np.clip(0.5 * contents.conditions.psf_fwhm["r"] / np.maximum(signal, 1), 0.001, 0.1) / 3600
    rows["RA"] = (ra + rng.normal(size=chosen.size) * error / np.cos(np.radians(dec))) % 360
    rows["DEC"] = dec + rng.normal(size=chosen.size) * error
    rows["RA_IVAR"] = rows["DEC_IVAR"] = error**-2
    rows["WISE_COADD_ID"] = patch.brickname.encode()


def _photometry(rows: Rows, contents: Contents, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> None:
    table, conditions = contents.galaxies, contents.conditions
    rows["EBV"] = conditions.ebv
    spread = 1 + (table.shape_r[chosen] / 0.8) ** 2
    in_fiber = 0.75 / (1 + (table.shape_r[chosen] / 0.7) ** 1.4)
    for column, band in enumerate(BANDS):
        through = 10 ** (-0.4 * EXTINCTION[band] * conditions.ebv)
        optical = band in SURVEY_BANDS
        depth = conditions.galaxy_depth(band) if optical else _WISE_IVAR[band]
        ivar = depth / spread if optical else np.full(chosen.size, depth)
        seen = ivar > 0
        flux = table.flux[chosen, column] * through
        flux = flux + np.divide(rng.normal(size=chosen.size), np.sqrt(ivar), out=np.zeros(chosen.size), where=seen)
        name = band.upper()
        rows[f"FLUX_{name}"], rows[f"FLUX_IVAR_{name}"] = np.where(seen, flux, 0), ivar
        rows[f"MW_TRANSMISSION_{name}"] = through
        rows[f"RCHISQ_{name}"] = np.where(seen, 1 + 0.04 * rng.random(chosen.size), 0)
        rows[f"FRACFLUX_{name}"] = np.where(seen, rng.exponential(0.01 if optical else 0.05, chosen.size), 0)
        if optical:
            rows[f"FIBERFLUX_{name}"] = rows[f"FIBERTOTFLUX_{name}"] = rows[f"FLUX_{name}"] * in_fiber
            rows[f"FRACIN_{name}"] = np.where(seen, 1 - 0.03 * rng.random(chosen.size), 0)
            rows[f"FRACMASKED_{name}"] = np.where(seen, 0.01 * rng.random(chosen.size), 0)
        else:
            rows[f"NOBS_{name}"] = 160 if band in {"W1", "W2"} else 14
    rows["PSFDEPTH_W1"], rows["PSFDEPTH_W2"] = _WISE_IVAR["W1"], _WISE_IVAR["W2"]
    power = rows["FLUX_R"] ** 2 * rows["FLUX_IVAR_R"]
    better = {"PSF": 0, "REX": 1, "DEV": 2, "EXP": 3, "SER": 4}
    best = np.array([better[kind] for kind in table.type[chosen]])
    rows["DCHISQ"] = power[:, None] * (1 - 0.02 * np.abs(np.arange(5)[None, :] - best[:, None]))


def _conditions(rows: Rows, contents: Contents) -> None:
    conditions = contents.conditions
    for band in SURVEY_BANDS:
        name = band.upper()
        rows[f"NOBS_{name}"] = conditions.nobs[band]
        rows[f"PSFSIZE_{name}"] = conditions.psf_fwhm[band] if conditions.nobs[band] else 0
        rows[f"PSFDEPTH_{name}"] = conditions.psf_depth[band]
        rows[f"GALDEPTH_{name}"] = conditions.galaxy_depth(band)


def _shapes(rows: Rows, contents: Contents, chosen: npt.NDArray[np.int64]) -> None:
    table = contents.galaxies
    kind, q = table.type[chosen], table.q[chosen]
    point = kind == "PSF"
    angle, e = 2 * np.radians(table.pa_deg[chosen]), (1 - q) / (1 + q)
    tilted = ~point & (kind != "REX")
    rows["SHAPE_R"] = np.where(point, 0, table.shape_r[chosen])
    rows["SHAPE_E1"], rows["SHAPE_E2"] = np.where(tilted, e * np.cos(angle), 0), np.where(tilted, e * np.sin(angle), 0)
    rows["SERSIC"] = np.where(point, 0, table.sersic[chosen])
    significance2 = np.clip(rows["FLUX_R"], 0, None) ** 2 * rows["FLUX_IVAR_R"]
    rows["SHAPE_R_IVAR"] = np.where(point, 0, significance2 / np.maximum(table.shape_r[chosen], 0.1) ** 2)
    rows["SHAPE_E1_IVAR"] = rows["SHAPE_E2_IVAR"] = np.where(tilted, significance2, 0)
    rows["SERSIC_IVAR"] = np.where(kind == "SER", significance2 / 16, 0)


def _masks(
    rows: Rows, contents: Contents, chosen: npt.NDArray[np.int64], invvar: Image, rng: np.random.Generator
) -> None:
    """Set ALLMASK on masked pixels, MEDIUM near a bright star, BRIGHT on a random few (its star is off the patch)."""
    side = invvar.shape[-1]
    x, y = np.clip(np.rint(contents.xy[chosen]).astype(int), 0, side - 1).T
    bits = np.zeros(chosen.size, np.int32)
    for b, band in enumerate(IMAGE_BANDS):
        masked = invvar[b, y, x] == 0
        bits |= np.where(masked, _BIT_ALLMASK[band], 0).astype(np.int32)
        rows[f"ALLMASK_{band.upper()}"] = rows[f"ANYMASK_{band.upper()}"] = masked
    table = contents.galaxies
    bright = (table.type == "PSF") & (table.flux[:, BANDS.index("r")] > 10 ** (0.4 * (22.5 - 17.0)))
    gaps = np.hypot(*np.moveaxis(contents.xy[chosen][:, None] - contents.xy[bright][None, :], -1, 0))
    bits |= np.where((gaps < 30).any(axis=1), _BIT_MEDIUM, 0).astype(np.int32)
    random_few = (rng.random(chosen.size) < _BRIGHT_SHARE) & (table.role[chosen] != "lens")
    rows["MASKBITS"] = bits | np.where(random_few, _BIT_BRIGHT, 0)


def _gaia(rows: Rows, contents: Contents, chosen: npt.NDArray[np.int64]) -> None:
    """Gaia columns of stars to r 20.5; blank and zero for the rest, as in the survey."""
    flux = contents.galaxies.flux[chosen, BANDS.index("r")]
    known = (contents.galaxies.role[chosen] == "star") & (flux > 10 ** (0.4 * (22.5 - 20.5)))
    mag = 22.5 - 2.5 * np.log10(flux)
    rows["REF_CAT"] = np.where(known, b"GE", b"  ")
    rows["REF_ID"] = np.where(known, (np.int64(contents.patch.brickid) << 20) + np.arange(chosen.size), 0)
    rows["REF_EPOCH"] = np.where(known, 2016.0, 0)
    for name, offset in (("G", 0.0), ("BP", 0.4), ("RP", -0.6)):
        rows[f"GAIA_PHOT_{name}_MEAN_MAG"] = np.where(known, mag + offset, 0)
        rows[f"GAIA_PHOT_{name}_MEAN_FLUX_OVER_ERROR"] = np.where(known, 10 ** (0.2 * (24 - mag)) * 20, 0)
    rows["GAIA_PHOT_BP_RP_EXCESS_FACTOR"] = np.where(known, 1.2, 0)
    rows["GAIA_ASTROMETRIC_SIGMA5D_MAX"] = np.where(known, 0.5, 0)
    rows["GAIA_ASTROMETRIC_PARAMS_SOLVED"] = np.where(known, 31, 0)
    for name in ("PARALLAX_IVAR", "PMRA_IVAR", "PMDEC_IVAR"):
        rows[name] = np.where(known, 4.0, 0)


def box_names(ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]) -> npt.NDArray[np.str_]:
    """Name of the 5 x 5 degree sweep file that holds each position (degrees)."""
    ra0 = np.floor(ra / _BOX_DEG).astype(int) * _BOX_DEG % 360
    dec0 = np.clip(np.floor(dec / _BOX_DEG).astype(int) * _BOX_DEG, -90, 90 - _BOX_DEG)
    key, inverse = np.unique(np.stack([ra0, dec0]), axis=1, return_inverse=True)
    names = np.array([f"sweep-{_corner(a, d)}-{_corner(a + _BOX_DEG, d + _BOX_DEG)}.fits" for a, d in key.T])
    return np.asarray(names[inverse.ravel()])


def _corner(ra: int, dec: int) -> str:
    return f"{ra:03d}{'m' if dec < 0 else 'p'}{abs(dec):03d}"


def write_sweeps(root: Path, rows: Rows) -> int:
    """Write ``root/sweep/sweep-*.fits``, each row in the file of its box; returns the number of files."""
    folder = root / "sweep"
    folder.mkdir(parents=True, exist_ok=True)
    name = box_names(rows["RA"], rows["DEC"])
    order = np.argsort(name, kind="stable")
    starts = np.flatnonzero(np.r_[True, name[order][1:] != name[order][:-1]])
    for part in np.split(order, starts[1:]):
        with fitsio.FITS(str(folder / str(name[part[0]])), "rw", clobber=True) as out:
            out.write(rows[part], extname="SWEEP", header={"SURVEY": "stronglens mock", "LSDR": "DR10"})
    return int(starts.size)
