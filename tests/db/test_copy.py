"""Arrow rows arrive in PostgreSQL as they left, or not at all."""

from __future__ import annotations

import pyarrow as pa
import pytest
from psycopg.errors import CheckViolation
from sqlalchemy import Connection, text

from db.copy import copy_arrow, psycopg_connection
from db.errors import DbError


@pytest.fixture
def table(connection: Connection) -> Connection:
    connection.execute(
        text(
            "CREATE TABLE provenance.copied (a bigint, b real, c text, d boolean, e smallint, f timestamptz, "
            "g double precision CHECK (g >= 0 AND g < 360), h int)"
        )
    )
    return connection


def test_values_of_every_type_come_back(table: Connection) -> None:
    rows = {
        "a": [2**62, None, -1],
        "b": [1.5, None, -0.25],
        "c": ["arc", None, "Ångström"],
        "d": [True, None, False],
        "e": [3, None, -3],
        "g": [0.0, None, 359.999],
        "h": [1, None, 2],
    }
    n = copy_arrow(psycopg_connection(table), "provenance.copied", pa.table(rows))
    found = table.execute(text("SELECT a, b, c, d, e, g, h FROM provenance.copied")).all()
    assert n == 3
    assert [tuple(row) for row in found] == list(zip(*rows.values(), strict=True))


def test_a_subset_of_columns_in_any_order_is_enough(table: Connection) -> None:
    copy_arrow(psycopg_connection(table), "provenance.copied", pa.table({"h": pa.array([7], pa.int64()), "c": ["x"]}))
    assert table.execute(text("SELECT c, h, a FROM provenance.copied")).one() == ("x", 7, None)


def test_several_batches_are_one_copy(table: Connection) -> None:
    batches = [pa.record_batch({"h": pa.array([i, i + 1], pa.int32())}) for i in (1, 3)]
    assert copy_arrow(psycopg_connection(table), "provenance.copied", iter(batches)) == 4
    assert table.scalars(text("SELECT h FROM provenance.copied ORDER BY h")).all() == [1, 2, 3, 4]


def test_nothing_to_copy_writes_nothing(table: Connection) -> None:
    assert copy_arrow(psycopg_connection(table), "provenance.copied", iter(())) == 0


def test_a_column_that_is_not_there_is_named(table: Connection) -> None:
    with pytest.raises(DbError, match=r"provenance\.copied: nope is not a column"):
        copy_arrow(psycopg_connection(table), "provenance.copied", pa.table({"nope": [1]}))


def test_a_table_that_is_not_there_is_named(table: Connection) -> None:
    with pytest.raises(DbError, match=r"provenance\.nope does not exist"):
        copy_arrow(psycopg_connection(table), "provenance.nope", pa.table({"a": [1]}))


def test_a_number_too_large_for_its_column_is_refused(table: Connection) -> None:
    with pytest.raises(pa.ArrowInvalid):
        copy_arrow(psycopg_connection(table), "provenance.copied", pa.table({"e": [40_000]}))


@pytest.mark.parametrize("bad", [float("nan"), 360.0, -1e-9])
def test_a_value_out_of_range_fails_the_whole_copy(table: Connection, bad: float) -> None:
    with pytest.raises(CheckViolation):
        copy_arrow(psycopg_connection(table), "provenance.copied", pa.table({"g": [1.0, bad]}))
