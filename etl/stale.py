"""Which lenses have to be looked for anew: those that are new, and those near a file that came, changed or went."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import healpy
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, and_, select

from db.models.catalog import Galaxy, Lens, LensMatch, MatchedFile, MatchedLens, SweepFile
from etl.sweeps.box import TOLERANCE_DEG, SkyBox, box_of_name

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ORDER_NSIDE = 1024


@dataclass(frozen=True)
class Pool:
    """The galaxies of one survey, and how far from a lens its match and its neighbours lie at most."""

    survey: str
    data_release: int
    match_radius_arcsec: float
    exclusion_radius_arcsec: float

    @property
    def reach_arcsec(self) -> float:
        """How far from a lens a galaxy can matter."""
        return max(self.match_radius_arcsec, self.exclusion_radius_arcsec)

    def has(self, model: type[Galaxy | LensMatch | SweepFile | MatchedFile | MatchedLens]) -> ColumnElement[bool]:
        """Condition that a row of a model is of this survey."""
        return and_(model.survey == self.survey, model.data_release == self.data_release)


@dataclass(frozen=True)
class FileState:
    """One version of one sweep file."""

    sweep_file_id: int
    name: str
    loaded_at: dt.datetime


@dataclass(frozen=True)
class Stale:
    """What a match has to do: `lenses` (lens_id, ra and dec in degrees, in the order of the sky), and why."""

    lenses: pd.DataFrame
    came: frozenset[FileState]
    went: frozenset[FileState]


def find_stale(connection: Connection, pool: Pool) -> Stale:
    """Find the lenses that were never looked for within these radii, and those near a file that came or went.

    A changed file both went and came. Files are read before lenses: whatever commits later is found the next time.
    """
    now = _files(connection, SweepFile, and_(pool.has(SweepFile), SweepFile.status == "loaded"))
    then = _files(connection, MatchedFile, pool.has(MatchedFile))
    lenses = _lenses(connection, pool)
    ra, dec = lenses["ra"].to_numpy(np.float64), lenses["dec"].to_numpy(np.float64)
    is_stale = lenses["is_new"].to_numpy(np.bool_)
    for name in {file.name for file in now ^ then}:
        is_stale |= near_box(box_of_name(name), ra, dec, pool.reach_arcsec)
    stale = lenses.loc[is_stale, ["lens_id", "ra", "dec"]]
    return Stale(stale.iloc[along_the_sky(ra[is_stale], dec[is_stale])], now - then, then - now)


def _files(
    connection: Connection, model: type[SweepFile | MatchedFile], where: ColumnElement[bool]
) -> frozenset[FileState]:
    statement = select(model.sweep_file_id, model.name, model.loaded_at).where(where)
    return frozenset(FileState(*row) for row in connection.execute(statement))


def _lenses(connection: Connection, pool: Pool) -> pd.DataFrame:
    """Return all lenses: lens_id, ra, dec and whether they are new to this pool and its radii."""
    is_matched = and_(
        MatchedLens.lens_id == Lens.lens_id,
        pool.has(MatchedLens),
        MatchedLens.match_radius_arcsec == pool.match_radius_arcsec,
        MatchedLens.exclusion_radius_arcsec == pool.exclusion_radius_arcsec,
    )
    statement = select(Lens.lens_id, Lens.ra, Lens.dec, MatchedLens.lens_id.is_(None)).outerjoin(
        MatchedLens, is_matched
    )
    rows = connection.execute(statement).all()
    types = {"lens_id": np.int64, "ra": np.float64, "dec": np.float64, "is_new": np.bool_}
    return pd.DataFrame([tuple(row) for row in rows], columns=list(types)).astype(types)


def near_box(box: SkyBox | None, ra: Floats, dec: Floats, radius_arcsec: float) -> Bools:
    """Tell which positions have a part of a file's sky within a radius; a file without a box may lie anywhere.

    A cone of radius r around declination d reaches asin(sin r / cos d) in RA on both sides, and all around when it
    holds a pole.
    """
    if box is None:
        return np.ones(len(ra), np.bool_)
    radius = radius_arcsec / 3600
    sine, cosine = np.sin(np.radians(radius)), np.cos(np.radians(dec))
    reach = np.degrees(np.arcsin(sine / np.maximum(cosine, sine)))
    reach = np.where(np.abs(dec) + radius >= 90, 360.0, reach) + TOLERANCE_DEG
    width = (box.ra_max - box.ra_min) % 360 or 360.0
    near: Bools = (
        ((ra - box.ra_min + reach) % 360 <= width + 2 * reach)
        & (dec >= box.dec_min - radius - TOLERANCE_DEG)
        & (dec <= box.dec_max + radius + TOLERANCE_DEG)
    )
    return near


def along_the_sky(ra: Floats, dec: Floats) -> NDArray[np.int64]:
    """Return an order of positions in which neighbours in the list are neighbours on the sky."""
    cells = healpy.ang2pix(_ORDER_NSIDE, ra, dec, nest=True, lonlat=True)
    return np.argsort(cells, kind="stable")
