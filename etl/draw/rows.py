"""The rows of a draw: its strata with their targets, and its positives."""

from __future__ import annotations

from sqlalchemy import Connection, Select, case, exists, func, insert, literal, select
from sqlalchemy.orm import aliased

from db import sky
from db.models.catalog import Galaxy, Lens, LensMatch
from db.models.sampling import NOBS_Z_BINS, STRATUM_TYPES, DrawMember, Stratum
from etl.draw.rules import DrawConfig

FOOTPRINT_RADIUS_ARCSEC = 60.0
"""A candidate with a pool galaxy this near lies on imaged sky (the survey has about 1.6 galaxies per square arcmin)."""


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


def insert_strata(connection: Connection, draw_id: int, config: DrawConfig, data_release: int) -> None:
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


def insert_positives(connection: Connection, draw_id: int, config: DrawConfig, data_release: int) -> None:
    """Write the positives, each in the stratum that its match puts it in, or in none."""
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
