"""Which cutouts a validation still has to read: those never measured, and those in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, or_, select, true

from db.models.catalog import Galaxy
from db.models.imaging import Cutout, CutoutMetric, Quarantine
from db.models.sampling import DrawMember
from etl.cutouts.targets import DrawRef
from etl.validation.measure import BATCH_FILES, Batch
from etl.validation.reading import Promise


def unread_batches(connection: Connection, draw: DrawRef, version: str, *, recheck: bool) -> list[Batch]:
    """Return the cutouts of a draw that have no metrics or are quarantined, in batches by cutout_id.

    Metrics from before the border's statistics were kept count as none. With `recheck`, every stored cutout is
    returned.
    """
    columns = (
        Cutout.cutout_id, Cutout.uri, Cutout.sha256, Cutout.layer, Cutout.bands, Cutout.n_pixels,
        Cutout.pixel_scale_arcsec, Galaxy.flux_g, Galaxy.flux_r, Galaxy.flux_z,
    )  # fmt: skip
    is_unread = or_(CutoutMetric.border_p50_r.is_(None), Quarantine.cutout_id.is_not(None))
    positives, negatives = (
        select(*columns)
        .join_from(DrawMember, Cutout, own)
        .outerjoin(Galaxy, Galaxy.ls_id == DrawMember.ls_id)
        .outerjoin(CutoutMetric, CutoutMetric.cutout_id == Cutout.cutout_id)
        .outerjoin(Quarantine, Quarantine.cutout_id == Cutout.cutout_id)
        .where(
            DrawMember.draw_id == draw.draw_id,
            DrawMember.label == label,
            Cutout.survey == draw.survey,
            Cutout.layer == draw.layer,
            Cutout.version == version,
            Cutout.uri.is_not(None),
            true() if recheck else is_unread,
        )
        for label, own in ((1, Cutout.lens_id == DrawMember.lens_id), (0, Cutout.ls_id == DrawMember.ls_id))
    )
    rows = connection.execution_options(yield_per=BATCH_FILES).execute(
        positives.union_all(negatives).order_by("cutout_id")
    )
    return [_batch(some) for some in rows.partitions()]


def _batch(rows: Sequence[Row[*tuple[Any, ...]]]) -> Batch:
    return Batch(
        cutout_id=np.array([row.cutout_id for row in rows], np.int64),
        promises=tuple(
            Promise(row.uri, row.sha256, row.layer, row.bands, row.n_pixels, row.pixel_scale_arcsec) for row in rows
        ),
        flux=np.array([(row.flux_g, row.flux_r, row.flux_z) for row in rows], np.float64),
    )
