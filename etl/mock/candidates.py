"""The candidates that the mock sky is rendered around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from db.errors import MissingInputError


@dataclass(frozen=True)
class Candidates:
    """Positions of lens candidates, one per array element: name, ra and dec (ICRS, degrees), tier ``A`` or ``B``."""

    name: npt.NDArray[np.str_]
    ra: npt.NDArray[np.float64]
    dec: npt.NDArray[np.float64]
    tier: npt.NDArray[np.str_]


def read_candidates(engine: sa.Engine) -> Candidates:
    """Read the training candidates (tier A or B) from ``catalog.lens``, ordered by name.

    Raises
    ------
    MissingInputError
        When ``catalog.lens`` holds no candidate.
    """
    from db.models.catalog import Lens

    chosen = (
        sa.select(Lens.name, Lens.ra, Lens.dec, Lens.tier)
        .where(Lens.tier.is_not(None))
        .order_by(Lens.name, Lens.ra, Lens.dec)
    )
    with engine.connect() as connection:
        rows = connection.execute(chosen).all()
    if not rows:
        raise MissingInputError("no candidates in catalog.lens: run `stronglens catalog load` first")
    name, ra, dec, tier = zip(*rows, strict=True)
    return Candidates(np.array(name), np.array(ra, float), np.array(dec, float), np.array(tier))
