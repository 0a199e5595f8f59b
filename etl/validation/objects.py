"""The rows that a validation works on: members, their conditions and cutouts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sqlalchemy import Connection, select

from db.errors import MissingInputError
from db.models.catalog import Galaxy
from db.models.imaging import CutoutMetric
from db.models.sampling import DrawMember
from etl.cutouts.targets import DrawRef, as_frame, load_cutouts

CONDITIONS = (
    "nobs_g", "nobs_r", "nobs_z", "psf_fwhm_g_arcsec", "psf_fwhm_r_arcsec", "psf_fwhm_z_arcsec",
    "depth_g", "depth_r", "depth_z", "ebv_mag", "dec",
)  # fmt: skip
"""What the metadata-only classifier sees; depths are 5-sigma point-source magnitudes."""

_METRICS = tuple(column.name for column in CutoutMetric.__table__.columns)
AUDIT_FEATURES = tuple(name for name in _METRICS if name.startswith("audit_"))
BORDER_FEATURES = tuple(name for name in _METRICS if name.startswith("border_"))
"""What the border-only classifier sees."""


def load_objects(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return one row per member: label, position, type, mag_r, shape, `CONDITIONS`, and its cutout.

    A positive's conditions are those of its Tractor match; NaN where it has none. Cutout columns are missing values
    for members that were not cut.

    Raises
    ------
    MissingInputError
        When the draw has no cutout of this version.
    """
    galaxy_columns = (
        Galaxy.type, Galaxy.flux_r, Galaxy.nobs_g, Galaxy.nobs_r, Galaxy.nobs_z, Galaxy.psf_fwhm_g_arcsec,
        Galaxy.psf_fwhm_r_arcsec, Galaxy.psf_fwhm_z_arcsec, Galaxy.psfdepth_g, Galaxy.psfdepth_r, Galaxy.psfdepth_z,
        Galaxy.ebv_mag, Galaxy.shape_r_arcsec, Galaxy.shape_e1, Galaxy.shape_e2, Galaxy.sersic,
    )  # fmt: skip
    columns = (DrawMember.member_id, DrawMember.label, DrawMember.dec, DrawMember.healpix_128, *galaxy_columns)
    rows = connection.execute(
        select(*columns)
        .outerjoin(Galaxy, Galaxy.ls_id == DrawMember.ls_id)
        .where(DrawMember.draw_id == draw.draw_id)
        .order_by(DrawMember.member_id)
    )
    objects = as_frame(rows, [column.key for column in columns])
    objects = objects.merge(load_cutouts(connection, draw, version), on="member_id", how="left", validate="one_to_one")
    if objects["cutout_id"].isna().all():
        raise MissingInputError(
            f"draw '{draw.name}' has no cutouts of version {version}: "
            f"run `stronglens cutouts make --draw {draw.name} --coadds PLACE` first"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        objects["mag_r"] = _finite(22.5 - 2.5 * np.log10(objects["flux_r"].astype(float)))
        for band in "grz":
            depth = objects[f"psfdepth_{band}"].astype(float)
            objects[f"depth_{band}"] = _finite(22.5 - 2.5 * np.log10(5 / np.sqrt(depth)))
    objects["ellipticity"] = np.hypot(objects["shape_e1"].astype(float), objects["shape_e2"].astype(float))
    for name in (*CONDITIONS, "shape_r_arcsec", "sersic"):
        objects[name] = objects[name].astype(float)
    return objects


def _finite(values: pd.Series) -> pd.Series:
    return values.where(np.isfinite(values))
