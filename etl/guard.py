"""The guard of a split scheme: which members leave its manifest because they are too near another split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, insert, literal, or_, select, union_all
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import InstrumentedAttribute, aliased

from db import sky
from db.models import Split
from db.models.sampling import ClosePair, Draw, DrawMember, GuardDrop, SplitAssignment, SplitCell


@dataclass(frozen=True)
class Guard:
    """What a scheme keeps apart: its splits by a distance, and from the test sky of `base_scheme_id`, if it has one."""

    scheme_id: int
    guard_arcsec: float
    base_scheme_id: int | None = None


def guard_draws(connection: Connection, guard: Guard, run_id: int) -> None:
    """Guard every draw that the scheme was not assigned to yet."""
    done = select(SplitAssignment.draw_id).where(SplitAssignment.scheme_id == guard.scheme_id)
    draws = connection.scalars(select(Draw.draw_id).where(Draw.draw_id.not_in(done)).order_by(Draw.draw_id)).all()
    for draw_id in draws:
        _guard_draw(connection, guard, draw_id, run_id)


def _guard_draw(connection: Connection, guard: Guard, draw_id: int, run_id: int) -> None:
    connection.execute(
        insert_or(ClosePair)
        .from_select(
            ["draw_id", "member_id", "other_member_id", "separation_arcsec"], close_pairs(draw_id, guard.guard_arcsec)
        )
        .on_conflict_do_nothing()
    )
    if guard.base_scheme_id is not None:
        _drop(connection, ["scheme_id", "member_id", "reason"], _in_test_sky(guard, draw_id))
    _drop(connection, ["scheme_id", "member_id", "nearest_member_id", "separation_arcsec"], _too_near(guard, draw_id))
    of_draw = (
        select(func.count())
        .select_from(ClosePair)
        .where(ClosePair.draw_id == draw_id, ClosePair.separation_arcsec <= guard.guard_arcsec)
    )
    dropped = (
        select(GuardDrop.reason, func.count())
        .join(DrawMember, DrawMember.member_id == GuardDrop.member_id)
        .where(GuardDrop.scheme_id == guard.scheme_id, DrawMember.draw_id == draw_id)
        .group_by(GuardDrop.reason)
    )
    n_dropped = dict(connection.execute(dropped).all())
    connection.execute(
        insert(SplitAssignment).values(
            scheme_id=guard.scheme_id,
            draw_id=draw_id,
            n_close_pairs=connection.scalar(of_draw),
            n_guard_drops=n_dropped.get("guard", 0),
            n_test_sky_drops=n_dropped.get("test_sky", 0),
            run_id=run_id,
        )
    )


def _drop(connection: Connection, columns: list[str], members: Select[Any]) -> None:
    connection.execute(insert_or(GuardDrop).from_select(columns, members).on_conflict_do_nothing())


def close_pairs(draw_id: int, radius_arcsec: float) -> Select[Any]:
    """Select every pair of members of a draw within a radius, the smaller key first."""
    first, second = aliased(DrawMember, name="first"), aliased(DrawMember, name="second")
    columns = (first.draw_id, first.member_id, second.member_id.label("other_member_id"))
    return sky.crossmatch(first, second, radius_arcsec=radius_arcsec, columns=columns).where(
        first.draw_id == draw_id, second.draw_id == draw_id, first.member_id < second.member_id
    )


def _in_test_sky(guard: Guard, draw_id: int) -> Select[Any]:
    base = aliased(SplitCell, name="base")
    columns: tuple[Any, ...] = (literal(guard.scheme_id), DrawMember.member_id, literal("test_sky"))
    return (
        select(*columns)
        .join(base, (base.scheme_id == guard.base_scheme_id) & (base.healpix_128 == DrawMember.healpix_128))
        .where(DrawMember.draw_id == draw_id, base.split == Split.TEST)
    )


def _too_near(guard: Guard, draw_id: int) -> Select[Any]:
    """Select each member that leaves, with the nearest member of another split that it leaves for."""
    pair = (ClosePair.draw_id == draw_id, ClosePair.separation_arcsec <= guard.guard_arcsec)
    both = union_all(
        select(ClosePair.member_id, ClosePair.other_member_id.label("partner_id"), ClosePair.separation_arcsec).where(
            *pair
        ),
        select(ClosePair.other_member_id, ClosePair.member_id, ClosePair.separation_arcsec).where(*pair),
    ).subquery("both")
    member, partner = aliased(DrawMember, name="member"), aliased(DrawMember, name="partner")
    own, other = aliased(SplitCell, name="own"), aliased(SplitCell, name="other")
    if guard.base_scheme_id is None:
        leaves = and_(member.label == 0, own.split != other.split)
    else:
        gone = select(GuardDrop.member_id).where(GuardDrop.scheme_id == guard.scheme_id)
        leaves = and_(_gives_way(own.split, other.split), member.member_id.not_in(gone), partner.member_id.not_in(gone))
    return (
        select(literal(guard.scheme_id), member.member_id, both.c.partner_id, both.c.separation_arcsec)
        .ext(distinct_on(member.member_id))
        .select_from(both)
        .join(member, member.member_id == both.c.member_id)
        .join(partner, partner.member_id == both.c.partner_id)
        .join(own, (own.scheme_id == guard.scheme_id) & (own.healpix_128 == member.healpix_128))
        .join(other, (other.scheme_id == guard.scheme_id) & (other.healpix_128 == partner.healpix_128))
        .where(leaves)
        .order_by(member.member_id, both.c.separation_arcsec, both.c.partner_id)
    )


def _gives_way(own: InstrumentedAttribute[str], other: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Of a fold: what is held out stays whole, so that every member is tested once; train gives way to val."""
    return or_(
        and_(own != Split.TEST, other == Split.TEST),
        and_(own == Split.TRAIN, other == Split.VAL),
    )
