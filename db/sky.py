"""Searches on the sphere: the only place that speaks Q3C.

A trap is hidden here: ``q3c_join`` wants the indexed columns last (``q3c_radial_query``, in the SQL functions, wants
them first). The wrong order gives the same rows without the index. All radii and separations are in arcseconds,
positions in ICRS degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Float, Select, and_, func, lateral, literal, select, true
from sqlalchemy.orm import InstrumentedAttribute

Degrees = float | ColumnElement[Any] | InstrumentedAttribute[float]

ARCSEC_PER_DEGREE = 3600.0

ROUNDING_ARCSEC = 1e-6
"""Q3C's distances carry rounding of this order; a radius includes a source at exactly that distance."""


@dataclass(frozen=True)
class Position:
    """Right ascension and declination in degrees: columns of a table, or numbers."""

    ra: Degrees
    dec: Degrees


def separation_arcsec(a: Position, b: Position) -> ColumnElement[float]:
    """Great-circle distance between two positions, arcsec."""
    return func.public.q3c_dist(a.ra, a.dec, b.ra, b.dec, type_=Float) * ARCSEC_PER_DEGREE


def within_join(probe: Position, *, indexed: Position, radius_arcsec: float) -> ColumnElement[bool]:
    """Condition that joins each `probe` row to the `indexed` rows (columns with the Q3C index) around it."""
    return func.public.q3c_join(probe.ra, probe.dec, indexed.ra, indexed.dec, _radius_deg(radius_arcsec))


def _radius_deg(radius_arcsec: float) -> ColumnElement[float]:
    if not 0 < radius_arcsec <= 3600:
        message = f"radius is {radius_arcsec} arcsec, expected more than 0 and at most 3600"
        raise ValueError(message)
    return literal((radius_arcsec + ROUNDING_ARCSEC) / ARCSEC_PER_DEGREE, Float)


def cone(table: Any, *, centre: Position, radius_arcsec: float) -> Select[Any]:
    """Rows of a mapped class with `ra`, `dec` and a Q3C index within a cone, nearest first.

    The last column is `separation_arcsec`. The radius is inclusive. It is asked for as a join with one position: that
    has 4 ranges of the index to plan, ``q3c_radial_query`` about 100, which takes longer than reading them.
    """
    here = Position(table.ra, table.dec)
    distance = separation_arcsec(here, centre).label("separation_arcsec")
    is_within = within_join(centre, indexed=here, radius_arcsec=radius_arcsec)
    return select(table, distance).where(is_within).order_by(distance)


def crossmatch(probe: Any, indexed: Any, *, radius_arcsec: float, columns: tuple[Any, ...]) -> Select[Any]:
    """All pairs of a probe row and an indexed row within a radius (inclusive).

    `probe` drives; `indexed` is searched through its Q3C index, so let the longer table be the indexed one.
    `columns` are selected, followed by `separation_arcsec`.
    """
    a, b = Position(probe.ra, probe.dec), Position(indexed.ra, indexed.dec)
    return (
        select(*columns, separation_arcsec(a, b).label("separation_arcsec"))
        .select_from(probe)
        .join(indexed, within_join(a, indexed=b, radius_arcsec=radius_arcsec))
    )


def nearest(
    probe: Any,
    indexed: Any,
    *,
    radius_arcsec: float,
    key: Any,
    where: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """The nearest indexed row within a radius of each probe row; probe rows without one are left out.

    Selects `key` of the indexed table and `separation_arcsec`; add the probe's columns with `.add_columns`. `where`
    narrows the indexed rows before the nearest is taken. Ties go to the smaller key.
    """
    a, b = Position(probe.ra, probe.dec), Position(indexed.ra, indexed.dec)
    distance = separation_arcsec(a, b).label("separation_arcsec")
    condition = within_join(a, indexed=b, radius_arcsec=radius_arcsec)
    candidates = (
        select(key.label("matched_key"), distance)
        .where(condition if where is None else and_(condition, where))
        .order_by(distance, key)
        .limit(1)
        .correlate(probe.__table__ if hasattr(probe, "__table__") else probe)
    )
    best = lateral(candidates, "best")
    return select(best.c.matched_key, best.c.separation_arcsec).select_from(probe).join(best, true())
