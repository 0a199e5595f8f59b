"""The rows of a file that is in the pool already: replaced when the file has changed, or taken out.

A galaxy that stays keeps its row, and all that refers to it. One that would vanish must not be in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Subquery,
    TableClause,
    and_,
    column,
    delete,
    exists,
    func,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import insert

from db.bulk import is_bulk
from db.copy import copy_arrow, psycopg_connection
from db.models.catalog import Galaxy, LensMatch, LensNeighbour, SweepFile
from db.models.imaging import Cutout
from db.models.sampling import Draw, DrawMember
from db.models.training import Model
from db.provenance import recorded_run
from db.statements import statement
from etl.errors import SweepFileError
from etl.sweeps.ledger import lock_file

_INCOMING = "pg_temp.incoming_galaxy"


def replace_rows(connection: Connection, sweep_file_id: int, galaxies: Iterator[pa.RecordBatch]) -> None:
    """Put galaxies in the place of those that a file brought in before, within the caller's transaction.

    Raises
    ------
    SweepFileError
        When the pool has no indexes yet, another file holds one of the sources, or one that would vanish is in use.
    """
    if is_bulk(connection):
        raise SweepFileError(
            "has changed since it was loaded, and the pool has no indexes yet to replace it by: "
            "run `stronglens sweeps index`, then load it again"
        )
    connection.execute(statement("incoming_galaxy_table"))
    copy_arrow(psycopg_connection(connection), _INCOMING, galaxies)
    connection.execute(statement("incoming_galaxy_analyze"))
    incoming = _incoming()
    names = [item.name for item in incoming.c]
    _take_out(connection, sweep_file_id, ~exists().where(incoming.c.ls_id == Galaxy.ls_id))
    n_incoming = connection.scalar(select(func.count()).select_from(incoming))
    values = insert(Galaxy).from_select(names, select(incoming))
    changed = {name: values.excluded[name] for name in names if name != "ls_id"}
    n_written = connection.execute(
        values.on_conflict_do_update(
            index_elements=[Galaxy.ls_id], set_=changed, where=Galaxy.sweep_file_id == sweep_file_id
        ),
        execution_options={"preserve_rowcount": True},
    ).rowcount
    if n_written != n_incoming:
        raise SweepFileError(_held_elsewhere(connection, sweep_file_id, incoming))


def unload_file(engine: Engine, name: str) -> int:
    """Take a file's galaxies out of the pool, with its ledger rows; return how many galaxies there were.

    Raises
    ------
    SweepFileError
        When no such file is loaded, or one of its galaxies is in use.
    """
    with recorded_run(engine, command="sweeps unload", config={"name": name}), engine.begin() as connection:
        lock_file(connection, name)
        files = connection.scalars(select(SweepFile.sweep_file_id).where(SweepFile.name == name)).all()
        if not files:
            raise SweepFileError(f"{name}: no file of this name is in the ledger; see `stronglens sweeps status`")
        n_galaxies = 0
        for sweep_file_id in files:
            try:
                n_galaxies += _take_out(connection, sweep_file_id, None)
            except SweepFileError as exc:
                raise SweepFileError(f"{name}: {exc}") from exc
            connection.execute(delete(SweepFile).where(SweepFile.sweep_file_id == sweep_file_id))
    return n_galaxies


def _take_out(connection: Connection, sweep_file_id: int, condition: ColumnElement[bool] | None) -> int:
    """Delete galaxies of a file that meet a condition, unless they are in use; return their number."""
    of_file = select(Galaxy.ls_id).where(Galaxy.sweep_file_id == sweep_file_id)
    doomed = (of_file if condition is None else of_file.where(condition)).subquery("doomed")
    _refuse_used(connection, doomed)
    keys = select(doomed.c.ls_id)
    # Both are made anew by the next match, which looks at this file again.
    connection.execute(delete(LensNeighbour).where(LensNeighbour.ls_id.in_(keys)))
    connection.execute(delete(LensMatch).where(LensMatch.ls_id.in_(keys)))
    # Both conditions: before the pool has its key, another file may hold the same source.
    own = and_(Galaxy.sweep_file_id == sweep_file_id, Galaxy.ls_id.in_(keys))
    return connection.execute(delete(Galaxy).where(own)).rowcount


def _refuse_used(connection: Connection, doomed: Subquery) -> None:
    """Refuse when a draw or a cutout refers to a galaxy that would vanish."""
    in_draw = (
        select(Draw.name, func.count(DrawMember.ls_id), func.min(Model.name))
        .join(DrawMember, DrawMember.draw_id == Draw.draw_id)
        .join(doomed, doomed.c.ls_id == DrawMember.ls_id)
        .outerjoin(Model, Model.draw_id == Draw.draw_id)
        .group_by(Draw.name)
        .order_by(func.min(Model.name).is_(None), Draw.name)
        .limit(1)
    )
    found = connection.execute(in_draw).one_or_none()
    if found is not None:
        name, n_members, model = found
        fix = (
            f"the draw is frozen, model {model} was trained on it: keep the file that was loaded"
            if model
            else f"run `stronglens draw delete {name}` first, or keep the file that was loaded"
        )
        raise SweepFileError(f"{n_members} galaxies that would go are held by draw {name}; {fix}")
    n_cutouts = connection.scalar(select(func.count(Cutout.ls_id)).join(doomed, doomed.c.ls_id == Cutout.ls_id))
    if n_cutouts:
        raise SweepFileError(f"{n_cutouts} galaxies that would go are shown by cutouts; keep the file that was loaded")


def _held_elsewhere(connection: Connection, sweep_file_id: int, incoming: TableClause) -> str:
    held = (
        select(Galaxy.ls_id, SweepFile.name)
        .join(incoming, incoming.c.ls_id == Galaxy.ls_id)
        .join(SweepFile, SweepFile.sweep_file_id == Galaxy.sweep_file_id)
        .where(Galaxy.sweep_file_id != sweep_file_id)
        .order_by(Galaxy.ls_id)
        .limit(1)
    )
    key, owner = connection.execute(held).one()
    return f"source ls_id {key} is already in the catalog, from {owner}; two files cannot hold one source"


def _incoming() -> TableClause:
    """Return the temporary table, with the pool's columns."""
    columns: list[Any] = [column(item.name) for item in Galaxy.__table__.columns]
    schema, name = _INCOMING.split(".")
    return table(name, *columns, schema=schema)
