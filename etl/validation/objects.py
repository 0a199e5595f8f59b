"""The rows that a validation works on: members, their conditions, cutouts and metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, select

from db.copy import copy_arrow, psycopg_connection
from db.errors import MissingInputError
from db.models.catalog import Galaxy
from db.models.imaging import Cutout, CutoutMetric
from db.models.sampling import DrawMember
from etl.cutouts.targets import DrawRef, as_frame, load_cutouts

CONDITIONS = (
    "nobs_g", "nobs_r", "nobs_z", "psf_fwhm_g_arcsec", "psf_fwhm_r_arcsec", "psf_fwhm_z_arcsec",
    "depth_g", "depth_r", "depth_z", "ebv_mag", "dec",
)  # fmt: skip
"""What the metadata-only classifier sees; depths are 5-sigma point-source magnitudes."""

METRIC_COLUMNS = tuple(column.name for column in CutoutMetric.__table__.columns if column.name != "cutout_id")
AUDIT_FEATURES = tuple(name for name in METRIC_COLUMNS if name.startswith("audit_"))


def load_objects(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return one row per member: label, position, type, mag_r, `CONDITIONS`, and its cutout.

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
        Galaxy.ebv_mag,
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
    for name in CONDITIONS:
        objects[name] = objects[name].astype(float)
    return objects


def metrics_present(connection: Connection, draw: DrawRef, version: str) -> set[int]:
    """Cutouts of this survey and version that were measured already."""
    found = (
        select(CutoutMetric.cutout_id)
        .join(Cutout, Cutout.cutout_id == CutoutMetric.cutout_id)
        .where(Cutout.survey == draw.survey, Cutout.version == version, Cutout.layer == draw.layer)
    )
    return set(connection.scalars(found))


def write_metrics(connection: Connection, measured: pd.DataFrame) -> int:
    """Append metrics, indexed by cutout_id with the columns of `METRIC_COLUMNS`; NaN becomes NULL."""
    columns = {"cutout_id": pa.array(measured.index.to_numpy(np.int64))}
    columns |= {name: pa.array(measured[name].to_numpy(float), from_pandas=True) for name in METRIC_COLUMNS}
    return copy_arrow(psycopg_connection(connection), "imaging.cutout_metric", pa.table(columns))


def read_audit(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return the audit features of the cutouts of this survey and version, indexed by cutout_id; NULL as NaN."""
    columns = [CutoutMetric.__table__.c[name] for name in ("cutout_id", *AUDIT_FEATURES)]
    rows = connection.execute(
        select(*columns)
        .join(Cutout, Cutout.cutout_id == CutoutMetric.cutout_id)
        .where(Cutout.survey == draw.survey, Cutout.version == version, Cutout.layer == draw.layer)
    )
    return as_frame(rows, ("cutout_id", *AUDIT_FEATURES)).set_index("cutout_id").astype(float)


def _finite(values: pd.Series) -> pd.Series:
    return values.where(np.isfinite(values))
