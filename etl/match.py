"""Stage 4: every known lens to its Tractor source, and the galaxies too near a lens to be negatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Engine, Select, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from db import sky
from db.config import StageConfig
from db.errors import MissingInputError
from db.lock import only_one
from db.models.catalog import Galaxy, Lens, LensMatch, LensNeighbour, SweepFile
from db.provenance import recorded_run


class MatchConfig(StageConfig):
    """Radii of the match."""

    match_radius_arcsec: float = Field(default=5.0, gt=0, le=5, allow_inf_nan=False)
    exclusion_radius_arcsec: float = Field(default=11.0, gt=0, le=11, allow_inf_nan=False)
    """5 arcsec + 2 x 3 arcsec: no negative lies nearer to a known lens or cluster core."""


@dataclass(frozen=True)
class MatchSummary:
    """Counts after the match of one survey's pool."""

    survey: str
    n_lenses: int
    n_matched: int
    n_positives_matched: int
    n_neighbours: int
    n_new_neighbours: int


def match_lenses(engine: Engine, config: MatchConfig) -> list[MatchSummary]:
    """Match all lenses to the pool of every survey that is loaded; a second run changes nothing.

    Raises
    ------
    MissingInputError
        When no lens or no galaxy is loaded.
    """
    with engine.connect() as connection:
        surveys = loaded_surveys(connection)
        if not connection.scalar(select(func.count()).select_from(Lens)):
            raise MissingInputError("catalog.lens is empty: run `stronglens catalog load` first")
    if not surveys:
        raise MissingInputError("catalog.galaxy is empty: run `stronglens sweeps load` first")
    with (
        only_one(engine, "the match"),
        recorded_run(engine, command="match", config=config),
        engine.begin() as connection,
    ):
        return [_match_survey(connection, config, survey, release) for survey, release in surveys]


def loaded_surveys(connection: Connection) -> list[tuple[str, int]]:
    """Surveys and data releases with at least one loaded sweep file that kept galaxies."""
    statement = (
        select(SweepFile.survey, SweepFile.data_release)
        .where(SweepFile.status == "loaded", SweepFile.n_kept > 0)
        .distinct()
        .order_by(SweepFile.survey, SweepFile.data_release)
    )
    return [(survey, release) for survey, release in connection.execute(statement)]


def _match_survey(connection: Connection, config: MatchConfig, survey: str, release: int) -> MatchSummary:
    of_survey = (Galaxy.survey == survey) & (Galaxy.data_release == release)
    _upsert_matches(connection, config, survey, release)
    pairs = sky.crossmatch(
        Lens, Galaxy, radius_arcsec=config.exclusion_radius_arcsec, columns=(Lens.lens_id, Galaxy.ls_id)
    ).where(of_survey)
    added = connection.execute(
        insert(LensNeighbour)
        .from_select(["lens_id", "ls_id", "separation_arcsec"], _within(pairs, config.exclusion_radius_arcsec))
        .on_conflict_do_nothing()
        .returning(LensNeighbour.ls_id)
    ).all()
    matched = (
        select(func.count()).select_from(LensMatch).where(LensMatch.survey == survey, LensMatch.data_release == release)
    )
    positives = matched.join(Lens, Lens.lens_id == LensMatch.lens_id).where(Lens.tier.is_not(None))
    return MatchSummary(
        survey=survey,
        n_lenses=connection.scalar(select(func.count()).select_from(Lens)) or 0,
        n_matched=connection.scalar(matched) or 0,
        n_positives_matched=connection.scalar(positives) or 0,
        n_neighbours=connection.scalar(_count_neighbours(survey, release)) or 0,
        n_new_neighbours=len(added),
    )


def _count_neighbours(survey: str, release: int) -> Select[int]:
    """Select the number of galaxies of a survey that lie near any known lens."""
    galaxies = select(func.count(LensNeighbour.ls_id.distinct())).join(Galaxy, Galaxy.ls_id == LensNeighbour.ls_id)
    return galaxies.where(Galaxy.survey == survey, Galaxy.data_release == release)


def _upsert_matches(connection: Connection, config: MatchConfig, survey: str, release: int) -> None:
    nearest = sky.nearest(
        Lens,
        Galaxy,
        radius_arcsec=config.match_radius_arcsec,
        key=Galaxy.ls_id,
        where=(Galaxy.survey == survey) & (Galaxy.data_release == release),
    ).add_columns(Lens.lens_id, literal(survey).label("survey"), literal(release).label("data_release"))
    rows = _within(nearest, config.match_radius_arcsec)
    upsert = insert(LensMatch).from_select(["ls_id", "separation_arcsec", "lens_id", "survey", "data_release"], rows)
    connection.execute(
        upsert.on_conflict_do_update(
            index_elements=["lens_id", "survey", "data_release"],
            set_={"ls_id": upsert.excluded.ls_id, "separation_arcsec": upsert.excluded.separation_arcsec},
            where=LensMatch.ls_id != upsert.excluded.ls_id,
        )
    )


def _within(pairs: Select[Any], radius_arcsec: float) -> Select[Any]:
    """Cap the separations at the radius: rounding may put a pair at the exact radius a hair beyond it."""
    found = pairs.subquery("found")
    capped = func.least(found.c.separation_arcsec, radius_arcsec)
    return select(*(capped if column.name == "separation_arcsec" else column for column in found.c))
