"""Take a draw away that no model uses, with everything that hangs on it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, func, select

from db.lock import only_one
from db.models.sampling import ClosePair, Draw, DrawMember, GuardDrop, Mining
from db.models.training import Model
from db.provenance import recorded_run
from etl.cutouts.targets import find_draw
from etl.errors import SamplingError


@dataclass(frozen=True)
class DeletedDraw:
    """What is gone."""

    name: str
    n_members: int


def delete_draw(engine: Engine, name: str) -> DeletedDraw:
    """Delete a draw: strata, members, close pairs, guard drops, split assignments and gates go with it; cutouts stay.

    Raises
    ------
    MissingInputError
        When there is no such draw.
    SamplingError
        When a model uses it, or a mined draw came out of it.
    """
    with engine.connect() as connection:
        draw = find_draw(connection, name)
        _refuse_used(connection, draw.draw_id, name)
    with (
        only_one(engine, "draws"),
        recorded_run(engine, command="draw delete", config={"name": name}),
        engine.begin() as connection,
    ):
        members = select(DrawMember.member_id).where(DrawMember.draw_id == draw.draw_id)
        n_members = connection.scalar(select(func.count()).select_from(members.subquery())) or 0
        # By sets, before the foreign keys would look for them member by member.
        connection.execute(delete(GuardDrop).where(GuardDrop.member_id.in_(members)))
        connection.execute(delete(ClosePair).where(ClosePair.draw_id == draw.draw_id))
        connection.execute(delete(DrawMember).where(DrawMember.draw_id == draw.draw_id))
        connection.execute(delete(Draw).where(Draw.draw_id == draw.draw_id))
    return DeletedDraw(name, n_members)


def _refuse_used(connection: Connection, draw_id: int, name: str) -> None:
    models = connection.scalars(select(Model.name).where(Model.draw_id == draw_id).order_by(Model.model_id)).all()
    if models:
        raise SamplingError(f"draw {name} is frozen: model {', '.join(models)} was trained on it")
    mined = connection.scalars(
        select(Draw.name)
        .join(Mining, Mining.draw_id == Draw.draw_id)
        .where(Mining.base_draw_id == draw_id)
        .order_by(Draw.name)
    ).all()
    if mined:
        raise SamplingError(f"draw {name} is the base of the mined draw {', '.join(mined)}: delete that one first")
