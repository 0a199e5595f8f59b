"""Held-out lenses: known ones that a draw does not teach, to test what is trained on it.

A lens is held out from a draw when it is a lens claim found in ground-based imaging without a training tier, is no
member of the draw, and has no training lens within the exclusion radius: such as the finds of a search that came later.
Where the catalogs do not say how a lens was first found (`other`), a paper's own table that lists it does: such tables
are of searches in ground-based images. Spectroscopic and HST discoveries are never held out, whoever lists them.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import aliased

from db.errors import MissingInputError
from db.models.catalog import Galaxy, Lens, LensMatch, LensSource
from db.models.discovery import HeldOut
from db.models.imaging import Cutout
from db.models.sampling import DrawMember
from db.sky import Position, nearest, within_join
from etl.catalogs.load import LENSCAT
from etl.cutouts.targets import (
    BRICK_SEARCH_ARCSEC,
    SWEEP_CONDITIONS,
    DrawRef,
    Neighbourhood,
    as_frame,
    bricknames,
    placed,
)
from etl.match import MatchConfig, count_stale_lenses

NEVER_TRAINED = 0.0
"""Weight in the training loss that the files of held-out lenses state."""


def held_out_lenses(draw_id: int) -> Select[int]:
    """Select the keys of the lenses that a draw holds out."""
    taught = aliased(Lens)
    radius = MatchConfig().exclusion_radius_arcsec
    is_near = within_join(Position(Lens.ra, Lens.dec), indexed=Position(taught.ra, taught.dec), radius_arcsec=radius)
    return select(Lens.lens_id).where(
        Lens.tier.is_(None),
        Lens.is_lens_claim,
        _is_seen_from_the_ground(),
        ~exists().where(DrawMember.draw_id == draw_id, DrawMember.lens_id == Lens.lens_id),
        ~exists().where(taught.tier.is_not(None), is_near),
    )


def list_held_out(connection: Connection, draw_id: int, run_id: int) -> None:
    """Bring `evaluation.held_out` up to date for one draw."""
    now = held_out_lenses(draw_id)
    connection.execute(delete(HeldOut).where(HeldOut.draw_id == draw_id, HeldOut.lens_id.not_in(now)))
    rows = now.add_columns(literal(draw_id), literal(run_id))
    connection.execute(insert_or(HeldOut).from_select(["lens_id", "draw_id", "run_id"], rows).on_conflict_do_nothing())


def is_list_current(connection: Connection, draw_id: int) -> bool:
    """Say whether `list_held_out` would change nothing."""
    listed = set(connection.scalars(select(HeldOut.lens_id).where(HeldOut.draw_id == draw_id)))
    return listed == set(connection.scalars(held_out_lenses(draw_id)))


def _is_seen_from_the_ground() -> ColumnElement[bool]:
    is_listed = exists().where(LensSource.lens_id == Lens.lens_id, ~LensSource.catalog.startswith(LENSCAT))
    return or_(Lens.discovery == "ground_imaging", and_(Lens.discovery == "other", is_listed))


def load_held_out(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return one row per lens that a draw holds out, by lens_id: the columns of `load_targets`, but for member_id.

    Raises
    ------
    MissingInputError
        When no lens is held out, or lenses or galaxies came after the last match.
    """
    n_stale = count_stale_lenses(connection, draw.survey, draw.data_release)
    if n_stale:
        raise MissingInputError(
            f"lenses or galaxies of survey {draw.survey} were loaded after the last match ({n_stale:,} lenses to look "
            "for): run `stronglens match` first"
        )
    targets = _lenses(connection, draw, version)
    if targets.empty:
        raise MissingInputError(
            f"draw '{draw.name}' holds no lens out: load a later search with `stronglens catalog load --table FILE "
            "--paper REFERENCE`, then run `stronglens match`"
        )
    around = Neighbourhood(
        bricknames(connection, draw), _nearest_galaxies(connection, draw, targets), _shared(connection, draw)
    )
    return placed(targets, version, around)


def _lenses(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    of_lens = (Lens.lens_id, LensMatch.ls_id, Lens.ra, Lens.dec, Galaxy.type, Lens.name)
    columns = (
        *of_lens,
        *(getattr(Galaxy, name) for name in SWEEP_CONDITIONS),
        *(Cutout.cutout_id, Cutout.uri, Cutout.status, Cutout.sha256),
    )
    is_match = _is_match(draw)
    is_cutout = and_(
        Cutout.lens_id == Lens.lens_id,
        Cutout.survey == draw.survey,
        Cutout.layer == draw.layer,
        Cutout.version == version,
    )
    rows = connection.execute(
        select(*columns)
        .select_from(Lens)
        .outerjoin(LensMatch, is_match)
        .outerjoin(Galaxy, Galaxy.ls_id == LensMatch.ls_id)
        .outerjoin(Cutout, is_cutout)
        .where(Lens.lens_id.in_(held_out_lenses(draw.draw_id)))
        .order_by(Lens.lens_id)
    )
    table = as_frame(rows, [column.key for column in columns])
    return table.assign(label=1, tier=None, weight=NEVER_TRAINED)


def _is_match(draw: DrawRef) -> Any:
    return and_(
        LensMatch.lens_id == Lens.lens_id, LensMatch.survey == draw.survey, LensMatch.data_release == draw.data_release
    )


def _nearest_galaxies(connection: Connection, draw: DrawRef, targets: pd.DataFrame) -> dict[int, int]:
    """Nearest pool galaxy of each lens without a match: lens_id to ls_id."""
    unmatched = targets.loc[targets["ls_id"].isna(), "lens_id"].astype("int64").tolist()
    if not unmatched:
        return {}
    found = (
        nearest(Lens, Galaxy, radius_arcsec=BRICK_SEARCH_ARCSEC, key=Galaxy.ls_id, where=Galaxy.survey == draw.survey)
        .add_columns(Lens.lens_id)
        .where(Lens.lens_id.in_(unmatched))
    )
    return {row.lens_id: row.matched_key for row in connection.execute(found)}


def _shared(connection: Connection, draw: DrawRef) -> set[int]:
    """Galaxies that are the match of several lenses without a training tier: their ids cannot name the files."""
    several = (
        select(LensMatch.ls_id)
        .join(Lens, _is_match(draw))
        .where(Lens.tier.is_(None), Lens.is_lens_claim, _is_seen_from_the_ground())
        .group_by(LensMatch.ls_id)
        .having(func.count() > 1)
    )
    return set(connection.scalars(several))
