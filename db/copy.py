"""Arrow batches into a table, by binary COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from sqlalchemy import Connection

from db.errors import DbError

ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "_float4": pa.list_(pa.float32()),
    "float8": pa.float64(),
    "text": pa.string(),
    "timestamptz": pa.timestamp("us", tz="UTC"),
}
"""PostgreSQL types that COPY takes, and the Arrow type whose binary form they read."""


def psycopg_connection(connection: Connection) -> psycopg.Connection[tuple[object, ...]]:
    """Return the driver's connection below a SQLAlchemy one, inside the same transaction."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise DbError(f"COPY needs the psycopg driver, found {type(driver).__module__}; use postgresql+psycopg://")
    return driver


def copy_arrow(
    connection: psycopg.Connection[tuple[object, ...]],
    table: str,
    batches: pa.Table | Iterable[pa.RecordBatch],
) -> int:
    """Append Arrow rows to a table by binary COPY; the caller commits.

    A conflict or a violated constraint fails the whole COPY and leaves the transaction to be rolled back.

    Parameters
    ----------
    connection
        An open psycopg connection.
    table
        Qualified name, such as ``catalog.galaxy``.
    batches
        Columns named as in the table (a subset is fine) and safely castable to its types.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    DbError
        When a column is not in the table, or its type cannot be copied.
    """
    stream: Iterator[pa.RecordBatch] = iter(batches.to_batches() if isinstance(batches, pa.Table) else batches)
    first = next(stream, None)
    if first is None:
        return 0
    target = _target_schema(connection, table, first.schema)
    encoder = ArrowToPostgresBinaryEncoder(target)
    schema_name, table_name = table.split(".")
    statement = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(
        sql.Identifier(schema_name, table_name), sql.SQL(", ").join(map(sql.Identifier, target.names))
    )
    n_rows = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in _chain(first, stream):
            copy.write(encoder.write_batch(_cast(batch, target)))
            n_rows += batch.num_rows
        copy.write(encoder.finish())
    return n_rows


def _chain(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _cast(batch: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(target):
        return batch
    return pa.RecordBatch.from_arrays([batch.column(field.name).cast(field.type) for field in target], schema=target)


def _target_schema(connection: psycopg.Connection[tuple[object, ...]], table: str, source: pa.Schema) -> pa.Schema:
    """Return the batch's columns with the Arrow types that the table's columns read."""
    rows = connection.execute(
        "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
        [table],
    ).fetchall()
    types = {str(name): str(type_name) for name, type_name in rows}
    if not types:
        raise DbError(f"table {table} does not exist; run `stronglens db upgrade`")
    fields = []
    for name in source.names:
        if types.get(name) not in ARROW_TYPES:
            have = f"has type {types[name]}, which COPY does not take" if name in types else "is not a column of it"
            raise DbError(f"cannot copy into {table}: {name} {have}")
        fields.append(pa.field(name, ARROW_TYPES[types[name]]))
    return pa.schema(fields)
