"""Stage 5: the stratified draw of negatives, in SQL, deterministic by seed and independent of the order of rows.

N2 (hard confusers) is drawn first and N1 from all that remain: the pools are disjoint, and N1 stays representative
of the survey wherever N2 takes a small part of it. The inclusion probability of a galaxy counts both ways in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, Select, exists, func, insert, select

from db.bulk import require_indexes
from db.errors import BusyError, MissingInputError
from db.lock import only_one
from db.models.catalog import Lens, LensMatch, LensNeighbour, SweepFile
from db.models.sampling import Draw, DrawMember, Stratum
from db.provenance import canonical_config, recorded_run
from etl.draw.negatives import insert_negatives
from etl.draw.rows import insert_positives, insert_strata
from etl.draw.rules import DrawConfig
from etl.errors import SamplingError
from etl.match import count_stale_lenses, loaded_surveys


@dataclass(frozen=True)
class DrawSummary:
    """Counts of one draw."""

    draw_id: int
    name: str
    survey: str
    is_new: bool
    n_by_pool: dict[str, int]
    n_positives_without_stratum: int
    shortfall_n1: int
    shortfall_n2: int
    n_lenses_since: int = 0
    n_galaxies_since: int = 0
    n_negatives_near_lens: int = 0

    @property
    def news(self) -> str:
        """What has changed since an existing draw was made, in words; empty when nothing has."""
        if not (self.n_lenses_since or self.n_galaxies_since or self.n_negatives_near_lens):
            return ""
        return (
            f"since this draw {self.n_lenses_since:,} lenses and {self.n_galaxies_since:,} galaxies were loaded, and "
            f"{self.n_negatives_near_lens:,} of its negatives lie within 11 arcsec of a lens known now; "
            "another --name draws anew"
        )


def draw_negatives(engine: Engine, config: DrawConfig) -> DrawSummary:
    """Draw the negatives of every matched positive; the same draw again changes nothing.

    Raises
    ------
    MissingInputError
        When the pool or the match is empty, or the pool has no indexes yet.
    SamplingError
        When several surveys are loaded and none is named, a draw of this name has other rules, or no positive is left.
    BusyError
        When another draw or a match is under way, or lenses or galaxies came while this one ran.
    """
    with engine.connect() as connection:
        require_indexes(connection)
        survey, data_release = _survey(connection, config)
        config = config.model_copy(update={"survey": survey})
        found = _existing(connection, config)
    if found is not None:
        return found
    with (
        only_one(engine, "draws"),
        only_one(engine, "the match"),  # the statements of a draw must all see one match
        recorded_run(engine, command="draw", config=config) as run,
        engine.begin() as connection,
    ):
        refuse_stale_match(connection, survey, data_release)
        draw_id = connection.scalar(
            insert(Draw)
            .values(
                name=config.name,
                survey=survey,
                data_release=data_release,
                seed=config.seed,
                key_rule=config.key_rule,
                config_sha256=run.config_sha256,
                run_id=run.run_id,
                n_lenses_known=_count_lenses(connection),
                n_galaxies=_count_galaxies(connection, survey),
            )
            .returning(Draw.draw_id)
        )
        assert draw_id is not None  # noqa: S101 - RETURNING of one inserted row
        insert_strata(connection, draw_id, config, data_release)
        insert_positives(connection, draw_id, config, data_release)
        insert_negatives(connection, draw_id, config, data_release)
        summary = _summarise(connection, draw_id, is_new=True)
        if not summary.n_by_pool.get("positive"):
            raise SamplingError(f"draw {config.name}: no positive of survey {survey} lies within the rules' footprint")
        refuse_loaded_meanwhile(connection, survey, data_release)
        return summary


def _survey(connection: Connection, config: DrawConfig) -> tuple[str, int]:
    loaded = dict(loaded_surveys(connection))
    if not loaded:
        raise MissingInputError("catalog.galaxy is empty: run `stronglens sweeps load` first")
    if config.survey is None and len(loaded) > 1:
        raise SamplingError(f"several surveys are loaded ({', '.join(loaded)}): name one with --survey")
    survey = config.survey or next(iter(loaded))
    if survey not in loaded:
        raise SamplingError(
            f"survey {survey} has no galaxies (loaded: {', '.join(loaded)}): run `stronglens sweeps load`"
        )
    if not connection.scalar(select(func.count()).select_from(LensMatch).where(LensMatch.survey == survey)):
        raise MissingInputError(f"no lens is matched to survey {survey}: run `stronglens match` first")
    return survey, loaded[survey]


def _existing(connection: Connection, config: DrawConfig) -> DrawSummary | None:
    draw = connection.execute(
        select(Draw.draw_id, Draw.config_sha256, Draw.key_rule, Draw.n_lenses_known, Draw.n_galaxies).where(
            Draw.name == config.name
        )
    ).first()
    if draw is None:
        return None
    # Draws of version 0.1.0 had one rule less to name.
    rules = config.model_dump(mode="json", exclude={"key_rule"} if draw.key_rule == "sha256" else None)
    config_sha256, _ = canonical_config(rules)
    if draw.config_sha256 != config_sha256:
        raise SamplingError(f"draw {config.name} was made with other rules: choose another --name")
    summary = _summarise(connection, draw.draw_id, is_new=False)
    return replace(
        summary,
        n_lenses_since=_count_lenses(connection) - draw.n_lenses_known,
        n_galaxies_since=_count_galaxies(connection, config.survey or "") - draw.n_galaxies,
        n_negatives_near_lens=connection.scalar(_negatives_near_lens(draw.draw_id)) or 0,
    )


def _negatives_near_lens(draw_id: int) -> Select[int]:
    """Select the number of negatives that lie near a lens that became known after the draw."""
    near = exists().where(LensNeighbour.ls_id == DrawMember.ls_id)
    return (
        select(func.count()).select_from(DrawMember).where(DrawMember.draw_id == draw_id, DrawMember.label == 0, near)
    )


def refuse_stale_match(connection: Connection, survey: str, data_release: int) -> None:
    """Refuse to draw after new lenses or galaxies, but before their match: negatives could lie on known lenses.

    Raises
    ------
    MissingInputError
        When some lens has not been looked for in the pool as it is.
    """
    n_stale = count_stale_lenses(connection, survey, data_release)
    if n_stale:
        raise MissingInputError(
            f"lenses or galaxies of survey {survey} were loaded after the last match ({n_stale:,} lenses to look for): "
            "run `stronglens match` first"
        )


def refuse_loaded_meanwhile(connection: Connection, survey: str, data_release: int) -> None:
    """Refuse to keep a draw when lenses or galaxies came while it was made; call it last, and hold the match's lock.

    Each statement of a transaction sees what was committed before it: the pass may have met galaxies that no match has
    seen. Whatever any statement saw, the last one sees too.

    Raises
    ------
    BusyError
        When some lens has not been looked for in the pool as it is now.
    """
    n_stale = count_stale_lenses(connection, survey, data_release)
    if n_stale:
        raise BusyError(
            f"lenses or galaxies of survey {survey} were loaded while the draw was made ({n_stale:,} lenses to look "
            "for), so it is not kept: run `stronglens match`, then this again"
        )


def _count_lenses(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(Lens)) or 0


def _count_galaxies(connection: Connection, survey: str) -> int:
    loaded = select(func.sum(SweepFile.n_kept)).where(SweepFile.survey == survey, SweepFile.status == "loaded")
    return int(connection.scalar(loaded) or 0)


def _summarise(connection: Connection, draw_id: int, *, is_new: bool) -> DrawSummary:
    draw = connection.execute(select(Draw.name, Draw.survey).where(Draw.draw_id == draw_id)).one()
    of_draw = DrawMember.draw_id == draw_id
    pools = select(DrawMember.pool, func.count()).where(of_draw).group_by(DrawMember.pool)
    without = (
        select(func.count())
        .select_from(DrawMember)
        .where(of_draw, DrawMember.label == 1, DrawMember.stratum_id.is_(None))
    )
    short = select(
        func.coalesce(func.sum(Stratum.n_target_n1 - Stratum.n_drawn_n1), 0),
        func.coalesce(func.sum(Stratum.n_target_n2 - Stratum.n_drawn_n2), 0),
    ).where(Stratum.draw_id == draw_id)
    shortfall_n1, shortfall_n2 = connection.execute(short).one()
    return DrawSummary(
        draw_id=draw_id,
        name=draw.name,
        survey=draw.survey,
        is_new=is_new,
        n_by_pool=dict(connection.execute(pools).all()),
        n_positives_without_stratum=connection.scalar(without) or 0,
        shortfall_n1=int(shortfall_n1 or 0),
        shortfall_n2=int(shortfall_n2 or 0),
    )
