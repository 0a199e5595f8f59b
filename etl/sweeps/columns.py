"""The sweep columns that the pool is made from, and the galaxy columns they become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class SweepColumn:
    """One column as the survey's data model describes it.

    `codes` are the TFORM letters that hold it without loss; `numpy_type` is what it is read as (None: bytes).
    """

    name: str
    codes: str
    numpy_type: type[np.generic] | None
    is_required: bool = True


def _floats(*names: str) -> tuple[SweepColumn, ...]:
    return tuple(SweepColumn(name, "E", np.float32) for name in names)


GALAXY_FLOATS = {
    "FLUX_G": "flux_g",
    "FLUX_R": "flux_r",
    "FLUX_I": "flux_i",
    "FLUX_Z": "flux_z",
    "FLUX_W1": "flux_w1",
    "FLUX_IVAR_G": "flux_ivar_g",
    "FLUX_IVAR_R": "flux_ivar_r",
    "FLUX_IVAR_Z": "flux_ivar_z",
    "MW_TRANSMISSION_G": "mw_transmission_g",
    "MW_TRANSMISSION_R": "mw_transmission_r",
    "MW_TRANSMISSION_Z": "mw_transmission_z",
    "PSFSIZE_G": "psf_fwhm_g_arcsec",
    "PSFSIZE_R": "psf_fwhm_r_arcsec",
    "PSFSIZE_Z": "psf_fwhm_z_arcsec",
    "PSFDEPTH_G": "psfdepth_g",
    "PSFDEPTH_R": "psfdepth_r",
    "PSFDEPTH_Z": "psfdepth_z",
    "GALDEPTH_G": "galdepth_g",
    "GALDEPTH_R": "galdepth_r",
    "GALDEPTH_Z": "galdepth_z",
    "EBV": "ebv_mag",
    "SHAPE_R": "shape_r_arcsec",
    "SHAPE_E1": "shape_e1",
    "SHAPE_E2": "shape_e2",
    "SERSIC": "sersic",
}
"""Sweep columns of type float32 that are stored as they are, and their names in ``catalog.galaxy``."""

GALAXY_INTEGERS = {
    "NOBS_G": "nobs_g",
    "NOBS_R": "nobs_r",
    "NOBS_Z": "nobs_z",
    "MASKBITS": "maskbits",
    "FITBITS": "fitbits",
}
"""The same for integers."""

SWEEP_COLUMNS: tuple[SweepColumn, ...] = (
    SweepColumn("RELEASE", "I", np.int16),
    SweepColumn("BRICKID", "J", np.int32),
    SweepColumn("BRICKNAME", "A", None),
    SweepColumn("OBJID", "J", np.int32),
    SweepColumn("TYPE", "A", None),
    SweepColumn("RA", "D", np.float64),
    SweepColumn("DEC", "D", np.float64),
    *_floats(*GALAXY_FLOATS),
    SweepColumn("NOBS_G", "I", np.int16),
    SweepColumn("NOBS_R", "I", np.int16),
    SweepColumn("NOBS_I", "I", np.int16),
    SweepColumn("NOBS_Z", "I", np.int16),
    SweepColumn("MASKBITS", "JI", np.int32),  # int16 before DR10
    SweepColumn("FITBITS", "I", np.int16),
    # Only brick catalogs (Tractor files) have it: a source in the overlap of two bricks counts once, in its own.
    SweepColumn("BRICK_PRIMARY", "L", np.bool_, is_required=False),
)

GALAXY_SCHEMA = pa.schema(
    [
        ("ls_id", pa.int64()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("healpix_128", pa.int32()),
        ("sweep_file_id", pa.int32()),
        ("survey", pa.string()),
        ("data_release", pa.int16()),
        ("type", pa.string()),
        *((name, pa.float32()) for name in GALAXY_FLOATS.values()),
        *((name, pa.int32() if name == "maskbits" else pa.int16()) for name in GALAXY_INTEGERS.values()),
    ]
)
"""Rows for ``catalog.galaxy``; a test compares it with the model."""
