"""Stage 5: the stratified draw of negatives, in SQL, deterministic by seed and independent of the order of rows.

N2 (hard confusers) is drawn first and N1 from all that remain: the pools are disjoint, and N1 stays representative
of the survey wherever N2 takes a small part of it. The inclusion probability of a galaxy counts both ways in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

from sqlalchemy import Connection, Engine, Select, case, exists, func, insert, literal, select
from sqlalchemy.orm import aliased

from db import sky
from db.errors import MissingInputError
from db.lock import only_one
from db.models.catalog import Galaxy, Lens, LensMatch, LensNeighbour, SweepFile
from db.models.provenance import Run
from db.models.sampling import NOBS_Z_BINS, STRATUM_TYPES, Draw, DrawMember, Stratum
from db.provenance import canonical_config, recorded_run
from db.statements import statement
from etl.draw_rules import DrawConfig
from etl.errors import SamplingError
from etl.match import loaded_surveys

FOOTPRINT_RADIUS_ARCSEC = 60.0
"""A candidate with a pool galaxy this near lies on imaged sky (the survey has about 1.6 galaxies per square arcmin)."""


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
        When the pool or the match is empty.
    SamplingError
        When several surveys are loaded and none is named, a draw of this name has other rules, or no positive is left.
    """
    with engine.connect() as connection:
        survey, data_release = _survey(connection, config)
        config = config.model_copy(update={"survey": survey})
        found = _existing(connection, config)
    if found is not None:
        return found
    with (
        only_one(engine, "draws"),
        recorded_run(engine, command="draw", config=config) as run,
        engine.begin() as connection,
    ):
        _refuse_stale_match(connection)
        draw_id = connection.scalar(
            insert(Draw)
            .values(
                name=config.name,
                survey=survey,
                data_release=data_release,
                seed=config.seed,
                config_sha256=run.config_sha256,
                run_id=run.run_id,
                n_lenses_known=_count_lenses(connection),
                n_galaxies=_count_galaxies(connection, survey),
            )
            .returning(Draw.draw_id)
        )
        assert draw_id is not None  # noqa: S101 - RETURNING of one inserted row
        _insert_strata(connection, draw_id, config, data_release)
        _insert_positives(connection, draw_id, config, data_release)
        _insert_negatives(connection, draw_id, config, data_release)
        summary = _summarise(connection, draw_id, is_new=True)
        if not summary.n_by_pool.get("positive"):
            raise SamplingError(f"draw {config.name}: no positive of survey {survey} lies within the rules' footprint")
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
        select(Draw.draw_id, Draw.config_sha256, Draw.n_lenses_known, Draw.n_galaxies).where(Draw.name == config.name)
    ).first()
    if draw is None:
        return None
    config_sha256, _ = canonical_config(config)
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


def _refuse_stale_match(connection: Connection) -> None:
    """A draw after new lenses or galaxies, but before their match, would take negatives on top of known lenses."""
    matched = select(func.max(Run.started_at)).where(Run.command == "match", Run.status == "succeeded")
    loaded = select(func.max(Run.started_at)).where(Run.command.in_(("catalog load", "sweeps load")))
    files = select(func.max(SweepFile.loaded_at)).where(SweepFile.status == "loaded")
    last_match = connection.scalar(matched)
    for what, last in (("lenses", connection.scalar(loaded)), ("galaxies", connection.scalar(files))):
        if last_match is None or (last is not None and last > last_match):
            raise MissingInputError(f"{what} were loaded after the last match: run `stronglens match` first")


def _count_lenses(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(Lens)) or 0


def _count_galaxies(connection: Connection, survey: str) -> int:
    loaded = select(func.sum(SweepFile.n_kept)).where(SweepFile.survey == survey, SweepFile.status == "loaded")
    return int(connection.scalar(loaded) or 0)


def _positives(config: DrawConfig, data_release: int) -> Select[tuple[object, ...]]:
    """Select the positives in the survey's footprint, with their match and the stratum it puts them in."""
    near = aliased(Galaxy, name="near")
    in_footprint = exists().where(
        sky.within_join(
            sky.Position(Lens.ra, Lens.dec),
            indexed=sky.Position(near.ra, near.dec),
            radius_arcsec=FOOTPRINT_RADIUS_ARCSEC,
        ),
        near.survey == config.survey,
    )
    has_stratum = Galaxy.type.in_(STRATUM_TYPES)
    matched = (
        (LensMatch.lens_id == Lens.lens_id)
        & (LensMatch.survey == config.survey)
        & (LensMatch.data_release == data_release)
    )
    return (
        select(
            Lens.lens_id,
            Lens.tier,
            Lens.ra,
            Lens.dec,
            Lens.healpix_128,
            LensMatch.ls_id,
            case((has_stratum, func.sampling.nobs_z_bin(Galaxy.nobs_z))).label("nobs_z_bin"),
            case((has_stratum, Galaxy.type)).label("type"),
        )
        .outerjoin(LensMatch, matched)
        .outerjoin(Galaxy, Galaxy.ls_id == LensMatch.ls_id)
        .where(Lens.tier.is_not(None), Lens.dec >= config.dec_min_deg, Lens.dec < config.dec_max_deg)
        .where(LensMatch.ls_id.is_not(None) | in_footprint)
    )


def _insert_strata(connection: Connection, draw_id: int, config: DrawConfig, data_release: int) -> None:
    """Write all strata, those without positives too, with their targets."""
    positives = _positives(config, data_release).subquery()
    statement_ = select(positives.c.nobs_z_bin, positives.c.type, func.count()).group_by(
        positives.c.nobs_z_bin, positives.c.type
    )
    counts = {(row[0], row[1]): int(row[2]) for row in connection.execute(statement_)}
    n2_each = config.n2_per_positive
    rows = []
    for nobs_z_bin in NOBS_Z_BINS:
        for type_ in STRATUM_TYPES:
            n = counts.get((nobs_z_bin, type_), 0)
            rows.append(
                {
                    "draw_id": draw_id,
                    "nobs_z_bin": nobs_z_bin,
                    "type": type_,
                    "n_positives": n,
                    "n_target_n1": n * (config.negatives_per_positive - n2_each),
                    "n_target_n2": n * n2_each,
                    "n_eligible_n1": 0,
                    "n_eligible_n2": 0,
                    "n_drawn_n1": 0,
                    "n_drawn_n2": 0,
                }
            )
    connection.execute(insert(Stratum), rows)


def _insert_positives(connection: Connection, draw_id: int, config: DrawConfig, data_release: int) -> None:
    positive = _positives(config, data_release).subquery("positive")
    weight = case(*((positive.c.tier == tier, value) for tier, value in sorted(config.tier_weights.items())))
    columns = [
        "draw_id",
        "label",
        "pool",
        "lens_id",
        "tier",
        "ls_id",
        "stratum_id",
        "weight",
        "ra",
        "dec",
        "healpix_128",
    ]
    rows = (
        select(
            literal(draw_id),
            literal(1),
            literal("positive"),
            positive.c.lens_id,
            positive.c.tier,
            positive.c.ls_id,
            Stratum.stratum_id,
            weight,
            positive.c.ra,
            positive.c.dec,
            positive.c.healpix_128,
        )
        .outerjoin(
            Stratum,
            (Stratum.draw_id == draw_id)
            & (Stratum.nobs_z_bin == positive.c.nobs_z_bin)
            & (Stratum.type == positive.c.type),
        )
        .order_by(positive.c.lens_id)
    )
    connection.execute(insert(DrawMember).from_select(columns, rows))


def _insert_negatives(connection: Connection, draw_id: int, config: DrawConfig, data_release: int) -> None:
    connection.execute(statement("draw_eligible_table"))
    parameters = config.sql_parameters() | _shares(connection, draw_id) | {"data_release": data_release}
    connection.execute(statement("draw_eligible"), parameters)
    connection.execute(statement("draw_negatives"), {"draw_id": draw_id, "negative_weight": 1.0})


def _shares(connection: Connection, draw_id: int) -> dict[str, list[object]]:
    """Divide [0, 1) of each nobs bin among its types in proportion to their positives."""
    shares: dict[str, list[object]] = {"share_bins": [], "share_types": [], "share_lo": [], "share_hi": []}
    for nobs_z_bin in NOBS_Z_BINS:
        rows = connection.execute(
            select(Stratum.type, Stratum.n_positives)
            .where(Stratum.draw_id == draw_id, Stratum.nobs_z_bin == nobs_z_bin, Stratum.n_positives > 0)
            .order_by(Stratum.type)
        ).all()
        total = sum(row.n_positives for row in rows)
        upper = [count / total for count in accumulate(row.n_positives for row in rows)]
        shares["share_bins"] += [nobs_z_bin] * len(rows)
        shares["share_types"] += [row.type for row in rows]
        shares["share_lo"] += [0.0, *upper[:-1]] if rows else []
        shares["share_hi"] += upper
    return shares


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
        shortfall_n1=int(shortfall_n1),
        shortfall_n2=int(shortfall_n2),
    )
