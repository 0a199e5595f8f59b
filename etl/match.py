"""Stage 4: every known lens to its Tractor source, and the galaxies too near a lens to be negatives.

Only lenses that are new, or near a file that was loaded, changed or taken out since, are looked for anew (`etl.stale`).
The outcome equals a match of all lenses from scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, delete, exists, func, insert, literal, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.exc import DBAPIError

from db import sky, temporary
from db.bulk import require_indexes
from db.config import StageConfig
from db.errors import BusyError, MissingInputError
from db.lock import only_one
from db.models.catalog import Galaxy, Lens, LensMatch, LensNeighbour, MatchedFile, MatchedLens, SweepFile
from db.provenance import recorded_run
from db.temporary import Pair, Probe
from etl.stale import Pool, Stale, find_stale

Progress = Callable[[str, int, int], None]
"""Called with the survey, the lenses done and the lenses to do."""

_N_AT_ONCE = 2000  # lenses between two reports of progress
_GALAXIES_WENT = frozenset({"23503", "40P01"})  # SQLSTATEs: foreign key violated, deadlock


class MatchConfig(StageConfig):
    """Radii of the match."""

    match_radius_arcsec: float = Field(default=5.0, gt=0, le=5, allow_inf_nan=False)
    exclusion_radius_arcsec: float = Field(default=11.0, gt=0, le=11, allow_inf_nan=False)
    """5 arcsec + 2 x 3 arcsec: no negative lies nearer to a known lens or cluster core."""

    def pool(self, survey: str, data_release: int) -> Pool:
        """Say what to search, and how far."""
        return Pool(survey, data_release, self.match_radius_arcsec, self.exclusion_radius_arcsec)


@dataclass(frozen=True)
class MatchSummary:
    """Counts after the match of one survey's pool; `n_looked_for` lenses were new or near a changed file."""

    survey: str
    n_lenses: int
    n_looked_for: int
    n_matched: int
    n_positives_matched: int
    n_neighbours: int
    n_new_neighbours: int


def match_lenses(engine: Engine, config: MatchConfig, progress: Progress | None = None) -> list[MatchSummary]:
    """Match the lenses to the pool of every survey that is loaded; a second run changes nothing.

    Raises
    ------
    MissingInputError
        When no lens or no galaxy is loaded, or the pool's first load has not ended.
    BusyError
        When another match is under way, or galaxies went while this one ran.
    """
    with engine.connect() as connection:
        surveys = loaded_surveys(connection)
        if not connection.scalar(select(func.count()).select_from(Lens)):
            raise MissingInputError("catalog.lens is empty: run `stronglens catalog load` first")
        if not surveys:
            raise MissingInputError("catalog.galaxy is empty: run `stronglens sweeps load` first")
        require_indexes(connection)
    with only_one(engine, "the match"), recorded_run(engine, command="match", config=config) as run:
        return [_match_survey(engine, config.pool(*survey), run.run_id, progress) for survey in surveys]


def loaded_surveys(connection: Connection) -> list[tuple[str, int]]:
    """Surveys and data releases with at least one loaded sweep file that kept galaxies."""
    statement = (
        select(SweepFile.survey, SweepFile.data_release)
        .where(SweepFile.status == "loaded", SweepFile.n_kept > 0)
        .distinct()
        .order_by(SweepFile.survey, SweepFile.data_release)
    )
    return [(survey, release) for survey, release in connection.execute(statement)]


def count_stale_lenses(connection: Connection, survey: str, data_release: int) -> int:
    """Count the lenses that `stronglens match` would look for anew; 0 when the match is up to date."""
    return len(find_stale(connection, MatchConfig().pool(survey, data_release)).lenses)


def _match_survey(engine: Engine, pool: Pool, run_id: int, progress: Progress | None) -> MatchSummary:
    """Look for the stale lenses of one pool, and remember it, in one transaction."""
    try:
        with engine.begin() as connection:
            stale = find_stale(connection, pool)
            _find_pairs(connection, pool, stale, progress)
            n_new = _replace_neighbours(connection, pool)
            _replace_matches(connection, pool)
            _remember(connection, pool, stale, run_id)
            return _summarise(connection, pool, len(stale.lenses), n_new)
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) not in _GALAXIES_WENT:
            raise
        raise BusyError("a sweep file was replaced while the match ran: run `stronglens match` again") from exc


def _find_pairs(connection: Connection, pool: Pool, stale: Stale, progress: Progress | None) -> None:
    """Put every galaxy within reach of a stale lens into a temporary table: one search serves both radii."""
    n = len(stale.lenses)
    columns = {"key": stale.lenses["lens_id"], "ra": stale.lenses["ra"], "dec": stale.lenses["dec"]}
    temporary.create(connection, Probe, pa.table({"place": np.arange(n), **columns}))
    temporary.create(connection, Pair)
    pairs = sky.crossmatch(Probe, Galaxy, radius_arcsec=pool.reach_arcsec, columns=(Probe.key, Galaxy.ls_id))
    for start in range(0, n, _N_AT_ONCE):
        some = pairs.where(pool.has(Galaxy), Probe.place.between(start, start + _N_AT_ONCE - 1))
        connection.execute(insert(Pair).from_select(["key", "ls_id", "separation_arcsec"], some))
        if progress is not None:
            progress(pool.survey, min(start + _N_AT_ONCE, n), n)
    temporary.analyze(connection, Pair)


def _replace_neighbours(connection: Connection, pool: Pool) -> int:
    """Make the neighbours of the stale lenses those that were found; return how many rows are new."""
    separation = _capped(pool.exclusion_radius_arcsec)
    found = select(Pair.key, Pair.ls_id, separation).where(_within(pool.exclusion_radius_arcsec)).subquery("found")
    same = and_(
        found.c.key == LensNeighbour.lens_id,
        found.c.ls_id == LensNeighbour.ls_id,
        found.c.separation_arcsec == LensNeighbour.separation_arcsec,
    )
    in_pool = exists().where(Galaxy.ls_id == LensNeighbour.ls_id, pool.has(Galaxy))
    is_stale = LensNeighbour.lens_id.in_(select(Probe.key))
    connection.execute(delete(LensNeighbour).where(is_stale, in_pool, ~exists().where(same)))
    added = insert_or(LensNeighbour).from_select(["lens_id", "ls_id", "separation_arcsec"], select(found))
    return connection.execute(added.on_conflict_do_nothing().execution_options(preserve_rowcount=True)).rowcount


def _replace_matches(connection: Connection, pool: Pool) -> None:
    """Make the match of each stale lens the nearest galaxy that was found; ties go to the smaller key."""
    best = (
        select(
            Pair.key.label("lens_id"),
            literal(pool.survey).label("survey"),
            literal(pool.data_release).label("data_release"),
            Pair.ls_id,
            _capped(pool.match_radius_arcsec),
        )
        .ext(distinct_on(Pair.key))
        .where(_within(pool.match_radius_arcsec))
        .order_by(Pair.key, Pair.separation_arcsec, Pair.ls_id)
        .subquery("best")
    )
    same = and_(
        best.c.lens_id == LensMatch.lens_id,
        best.c.ls_id == LensMatch.ls_id,
        best.c.separation_arcsec == LensMatch.separation_arcsec,
    )
    is_stale = LensMatch.lens_id.in_(select(Probe.key))
    connection.execute(delete(LensMatch).where(is_stale, pool.has(LensMatch), ~exists().where(same)))
    connection.execute(insert_or(LensMatch).from_select(best.c.keys(), select(best)).on_conflict_do_nothing())


def _remember(connection: Connection, pool: Pool, stale: Stale, run_id: int) -> None:
    """Record what was looked for, and in which files."""
    of_pool = {"survey": pool.survey, "data_release": pool.data_release, "run_id": run_id}
    of_pool |= {"match_radius_arcsec": pool.match_radius_arcsec}
    of_pool |= {"exclusion_radius_arcsec": pool.exclusion_radius_arcsec}
    looked_for = select(Probe.key, *(literal(value) for value in of_pool.values()))
    key = ["lens_id", "survey", "data_release"]
    connection.execute(
        insert_or(MatchedLens)
        .from_select(["lens_id", *of_pool], looked_for)
        .on_conflict_do_update(index_elements=key, set_={k: v for k, v in of_pool.items() if k not in key})
    )
    went = [file.sweep_file_id for file in stale.went]
    connection.execute(delete(MatchedFile).where(MatchedFile.sweep_file_id.in_(went)))
    if stale.came:
        rows = [{"survey": pool.survey, "data_release": pool.data_release} | asdict(file) for file in stale.came]
        connection.execute(insert(MatchedFile), rows)


def _within(radius_arcsec: float) -> ColumnElement[bool]:
    """Condition that a pair lies within a radius (inclusive)."""
    return Pair.separation_arcsec <= radius_arcsec + sky.ROUNDING_ARCSEC


def _capped(radius_arcsec: float) -> ColumnElement[float]:
    """Cap a separation at the radius: rounding may put a pair at the exact radius a hair beyond it."""
    return func.least(Pair.separation_arcsec, radius_arcsec).label("separation_arcsec")


def _summarise(connection: Connection, pool: Pool, n_looked_for: int, n_new_neighbours: int) -> MatchSummary:
    matched = select(func.count()).select_from(LensMatch).where(pool.has(LensMatch))
    positives = matched.join(Lens, Lens.lens_id == LensMatch.lens_id).where(Lens.tier.is_not(None))
    return MatchSummary(
        survey=pool.survey,
        n_lenses=connection.scalar(select(func.count()).select_from(Lens)) or 0,
        n_looked_for=n_looked_for,
        n_matched=connection.scalar(matched) or 0,
        n_positives_matched=connection.scalar(positives) or 0,
        n_neighbours=connection.scalar(_count_neighbours(pool)) or 0,
        n_new_neighbours=n_new_neighbours,
    )


def _count_neighbours(pool: Pool) -> Select[int]:
    """Select the number of galaxies of a survey that lie near any known lens."""
    galaxies = select(func.count(LensNeighbour.ls_id.distinct())).join(Galaxy, Galaxy.ls_id == LensNeighbour.ls_id)
    return galaxies.where(pool.has(Galaxy))
