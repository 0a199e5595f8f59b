"""One Spark session for all ETL tests, and DR10-shaped sweep files to feed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from etl.sweeps.spark import local_session

# The survey's data model of a DR10 sweep, in the order of its files: letter of the TFORM, then names.
# "x" stands for each band in turn.
_MODEL = """
I RELEASE | J BRICKID | 8A BRICKNAME | J OBJID | 3A TYPE | D RA DEC | E RA_IVAR DEC_IVAR | 5E DCHISQ | E EBV
E FLUX_griz1234 FLUX_IVAR_griz1234 MW_TRANSMISSION_griz1234 | I NOBS_griz1234
E RCHISQ_griz1234 FRACFLUX_griz1234 FRACMASKED_griz FRACIN_griz | I ANYMASK_griz ALLMASK_griz | B WISEMASK_12
E PSFSIZE_griz PSFDEPTH_griz GALDEPTH_griz PSFDEPTH_12 | 8A WISE_COADD_ID
E SHAPE_R SHAPE_R_IVAR SHAPE_E1 SHAPE_E1_IVAR SHAPE_E2 SHAPE_E2_IVAR FIBERFLUX_griz FIBERTOTFLUX_griz
2A REF_CAT | K REF_ID | E REF_EPOCH GAIA_PHOT_G_MEAN_MAG GAIA_PHOT_G_MEAN_FLUX_OVER_ERROR
E GAIA_PHOT_BP_MEAN_MAG GAIA_PHOT_BP_MEAN_FLUX_OVER_ERROR GAIA_PHOT_RP_MEAN_MAG GAIA_PHOT_RP_MEAN_FLUX_OVER_ERROR
E GAIA_ASTROMETRIC_EXCESS_NOISE | L GAIA_DUPLICATED_SOURCE | E GAIA_PHOT_BP_RP_EXCESS_FACTOR
E GAIA_ASTROMETRIC_SIGMA5D_MAX | B GAIA_ASTROMETRIC_PARAMS_SOLVED
E PARALLAX PARALLAX_IVAR PMRA PMRA_IVAR PMDEC PMDEC_IVAR | J MASKBITS | I FITBITS | E SERSIC SERSIC_IVAR
"""
_BANDS = {"griz1234": "G R I Z W1 W2 W3 W4", "griz": "G R I Z", "12": "W1 W2"}
_NUMPY = {"I": "i2", "J": "i4", "K": "i8", "E": "f4", "D": "f8", "B": "u1", "L": "?", "5E": "(5,)f4"}


def dr10_columns() -> list[tuple[str, str]]:
    """Name and TFORM of the 130 columns."""
    columns = []
    for group in _MODEL.replace("\n", "|").split("|"):
        tform, *names = group.split() or [""]
        for name in names:
            stem, _, suffix = name.rpartition("_")
            bands = _BANDS.get(suffix)
            columns += [(f"{stem}_{band}", tform) for band in bands.split()] if bands else [(name, tform)]
    return columns


Sweep = NDArray[np.void]


def make_sweep(n_rows: int, seed: int = 1, release: int = 10_000, ra: float = 2.5, dec: float = -2.5) -> Sweep:
    """Random rows of all kinds within 2 degrees of a position, every column filled; keys are distinct by seed."""
    rng = np.random.default_rng(seed)
    dtype = [(name, f"S{tform[:-1]}" if tform.endswith("A") else _NUMPY[tform]) for name, tform in dr10_columns()]
    sweep = np.zeros(n_rows, dtype=dtype)
    for name in sweep.dtype.names:
        column = sweep[name]
        if column.dtype.kind == "f":
            sweep[name] = rng.uniform(0.1, 5.0, column.shape)
        elif column.dtype.kind in "iu":
            sweep[name] = rng.integers(0, 100, column.shape)
    sweep["RELEASE"] = release
    sweep["BRICKID"] = 300_000 + 1000 * seed + np.arange(n_rows) // 500
    sweep["BRICKNAME"] = [f"{brick:07d}m"[-8:].encode() for brick in sweep["BRICKID"]]
    sweep["OBJID"] = np.arange(n_rows) % 500 + 65_000
    sweep["TYPE"] = rng.choice([b"SER", b"DEV", b"REX", b"EXP", b"PSF", b"DUP"], n_rows)
    sweep["RA"] = (ra + rng.uniform(-2, 2, n_rows)) % 360
    sweep["DEC"] = dec + rng.uniform(-2, 2, n_rows)
    sweep["FLUX_Z"] = 10 ** rng.uniform(-1, 2, n_rows) * rng.choice([1, 1, 1, -1], n_rows)
    sweep["FLUX_G"] *= rng.choice([1, -1], n_rows)
    sweep["MASKBITS"] = rng.integers(0, 1 << 14, n_rows)
    return sweep


def write_sweep(path: Path, sweep: Sweep) -> Path:
    """Write rows with astropy, as the survey's software does; a name that ends in .gz is compressed."""
    formats = dict(dr10_columns())
    columns = [fits.Column(name, formats[name], array=sweep[name]) for name in sweep.dtype.names]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    return path


def is_pool_galaxy(path: Path) -> NDArray[np.bool_]:
    """Select the pool's rows of a sweep as astropy reads it, independently of the loader."""
    table = fits.getdata(path, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mag_z = 22.5 - 2.5 * np.log10(np.asarray(table["FLUX_Z"], dtype=np.float64))
    kinds = np.char.strip(np.asarray(table["TYPE"]))
    return np.isin(kinds, ["SER", "DEV", "REX", "EXP"]) & (mag_z <= 21)


@dataclass(frozen=True)
class SweepFiles:
    """What tests make sweep files with."""

    columns: Callable[[], list[tuple[str, str]]] = dr10_columns
    make: Callable[..., Sweep] = make_sweep
    write: Callable[[Path, Sweep], Path] = write_sweep
    is_pool_galaxy: Callable[[Path], NDArray[np.bool_]] = is_pool_galaxy


@pytest.fixture(scope="session")
def sweep_files() -> SweepFiles:
    """Builder of DR10-shaped sweep files, and an independent selection of their rows."""
    return SweepFiles()


@pytest.fixture(scope="session")
def store_credentials() -> dict[str, str]:
    """Environment that signs requests to a test's object store, and to no other."""
    return {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def spark(store_credentials: dict[str, str]) -> Iterator[SparkSession]:
    """The session of all tests; its workers keep the environment in which it starts."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in store_credentials.items():
                patch.setenv(name, value)
            session = stack.enter_context(local_session(2))
        yield session


@pytest.fixture
def shared_session(spark: SparkSession) -> Callable[[int], AbstractContextManager[SparkSession]]:
    """The session of all tests, in the form in which a load asks for one."""
    return lambda _n_workers: nullcontext(spark)
