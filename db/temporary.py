"""Temporary tables: positions that go in and pairs that come out of a search; gone when the transaction ends."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy import BigInteger, Connection, Double, Table, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.copy import copy_arrow, psycopg_connection
from db.errors import DbError

_GONE_AT_THE_END = {"schema": "pg_temp", "prefixes": ["TEMPORARY"], "postgresql_on_commit": "DROP"}


class Temporary(DeclarativeBase):
    """Parent of the temporary tables; migrations know nothing of them."""

    type_annotation_map = {int: BigInteger, float: Double}  # noqa: RUF012 - SQLAlchemy reads this class attribute


class Probe(Temporary):
    """One position to search around. Rows in the order of the sky let a search read neighbouring pages once."""

    __tablename__ = "probe"
    __table_args__ = _GONE_AT_THE_END
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 0, 1, 2 ... along the sky
    key: Mapped[int]  # lens_id, or number of an input row
    ra: Mapped[float]
    dec: Mapped[float]


class Pair(Temporary):
    """One galaxy near one probe."""

    __tablename__ = "pair"
    __table_args__ = _GONE_AT_THE_END
    key: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ls_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    separation_arcsec: Mapped[float]


class LensPair(Temporary):
    """The known lens near one probe."""

    __tablename__ = "lens_pair"
    __table_args__ = _GONE_AT_THE_END
    key: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lens_id: Mapped[int]
    separation_arcsec: Mapped[float]


def create(connection: Connection, model: type[Temporary], rows: pa.Table | None = None) -> None:
    """Make a temporary table for the rest of the transaction, with `rows` in it."""
    table = model.__table__
    if not isinstance(table, Table):
        raise DbError(f"{model.__name__} is not mapped to a table")
    table.create(connection)
    if rows is not None:
        copy_arrow(psycopg_connection(connection), table.fullname, rows)
        analyze(connection, model)


def analyze(connection: Connection, model: type[Temporary]) -> None:
    """Let the planner know the rows of a temporary table; nothing else does."""
    connection.execute(text(f"ANALYZE pg_temp.{model.__tablename__}"))
