"""Whether a database looks as the code says: tables, columns, comments, constraints, indexes, views, triggers.

What the code says is built beside what is there, inside a transaction that is rolled back, and PostgreSQL is asked
to print both: its own words are compared, not our formatting.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.schema import CreateSchema

from db import migrate
from db.copy import psycopg_connection
from db.definitions import Definition, functions, pg_sphere_functions, triggers, views
from db.models import SCHEMAS, Base

SCRATCH = "drift_scratch_"
"""Prefix of the schemas in which the models are built, inside the transaction that is rolled back."""

_DESCRIBE = """
WITH relation AS (
    SELECT c.oid, n.nspname || '.' || c.relname AS name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'p')
)
SELECT 'table ' || r.name, 'comment ' || coalesce(quote_literal(obj_description(r.oid, 'pg_class')), 'none')
FROM relation AS r
UNION ALL
SELECT 'column ' || r.name || '.' || a.attname,
    format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
    || CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
    || coalesce(' comment ' || quote_literal(col_description(r.oid, a.attnum)), '')
FROM relation AS r
JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = r.oid AND d.adnum = a.attnum
UNION ALL
SELECT 'constraint ' || k.conname || ' of ' || r.name,
    pg_get_constraintdef(k.oid) || CASE WHEN k.convalidated THEN '' ELSE ' NOT VALID' END
FROM relation AS r JOIN pg_constraint AS k ON k.conrelid = r.oid AND k.contype <> 't'
UNION ALL
SELECT 'index ' || i.indexrelid::regclass::text || ' of ' || r.name,
    pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' INVALID' END
FROM relation AS r JOIN pg_index AS i ON i.indrelid = r.oid
"""

_PRINT = {
    "view": "SELECT pg_get_viewdef(to_regclass(:qualified))",
    "function": "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.pronamespace = to_regnamespace(:schema) "
    "AND p.proname = :name",
    "trigger": "SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = to_regclass(:qualified) "
    "AND t.tgname = :name",
}

_LIST = {
    "view": "SELECT schemaname, viewname, NULL FROM pg_views WHERE schemaname = ANY(:schemas)",
    "function": "SELECT n.nspname, p.proname, NULL FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
    "WHERE n.nspname = ANY(:schemas)",
    "trigger": "SELECT n.nspname, t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE NOT t.tgisinternal AND n.nspname = ANY(:schemas)",
}


def check(engine: Engine) -> list[str]:
    """Return one line for each difference between the database and the code; an empty list when there is none."""
    revision, head = migrate.current(engine), migrate.head()
    if revision != head:
        return [f"revision is {revision or 'none'}, the code's is {head}: run `stronglens db upgrade`"]
    with engine.connect() as connection, connection.begin() as transaction:
        lines = _tables(connection)
        # Those of pg_sphere may be there or not; `stronglens db bootstrap` makes them.
        optional = [function for function in pg_sphere_functions() if _print(connection, function) is not None]
        for definitions in (functions() + optional, triggers(), views()):
            lines += _definitions(connection, definitions)
        lines += _view_comments(connection)
        transaction.rollback()
    return lines


def _tables(connection: Connection) -> list[str]:
    """Compare tables, columns, comments, constraints and indexes with those that the models make."""
    scratch = {schema: SCRATCH + schema for schema in SCHEMAS}
    for schema in scratch.values():
        connection.execute(CreateSchema(schema))
    translated = connection.execution_options(schema_translate_map=scratch)
    Base.metadata.create_all(translated)
    connection.execution_options(schema_translate_map=None)
    found = _describe(connection, list(scratch))
    wanted = _describe(connection, list(scratch.values()))
    missing = [f"{place} is missing or differs, the code says: {what}" for place, what in sorted(wanted - found)]
    extra = [f"{place} is in the database, not so in the code: {what}" for place, what in sorted(found - wanted)]
    return missing + extra


def _describe(connection: Connection, schemas: list[str]) -> set[tuple[str, str]]:
    """Everything about the tables of some schemas, in PostgreSQL's own words, without the scratch prefix."""
    rows = connection.execute(text(_DESCRIBE), {"schemas": schemas})
    return {(str(place).replace(SCRATCH, ""), str(what).replace(SCRATCH, "")) for place, what in rows}


def _definitions(connection: Connection, definitions: list[Definition]) -> list[str]:
    kind = definitions[0].kind
    lines = []
    for definition in definitions:
        named = f"{kind} {definition.schema}.{definition.name}"
        found = _print(connection, definition)
        if found is None:
            lines.append(f"{named} is missing")
            continue
        try:
            with connection.begin_nested():
                psycopg_connection(connection).execute(definition.sql.encode())
                wanted = _print(connection, definition)
        except psycopg.Error as exc:
            lines.append(f"{named} cannot be replaced by its file: {str(exc).splitlines()[0]}")
            continue
        if wanted != found:
            lines.append(f"{named} differs from its file")
    wanted_names = {(d.schema, d.name, d.table) for d in definitions}
    for schema, name, table in connection.execute(text(_LIST[kind]), {"schemas": list(SCHEMAS)}):
        if (schema, name, table) not in wanted_names:
            lines.append(f"{kind} {schema}.{name} is in the database but has no file")
    return lines


def _print(connection: Connection, definition: Definition) -> str | None:
    relation = definition.table or definition.name
    values = {
        "schema": definition.schema,
        "name": definition.name,
        "qualified": f"{definition.schema}.{relation}",
    }
    statement = text(_PRINT[definition.kind])
    wanted = {name: values[name] for name in statement.compile().params}
    printed = connection.scalar(statement, wanted)
    return None if printed is None else str(printed)


def _view_comments(connection: Connection) -> list[str]:
    statement = text(
        "SELECT c.relname, obj_description(c.oid) FROM pg_class c WHERE c.relkind = 'v' "
        "AND c.relnamespace = to_regnamespace('results')"
    )
    found = {str(name): comment for name, comment in connection.execute(statement)}
    return [
        f"comment of view results.{view.name} differs from its file's header"
        for view in views()
        if view.name in found and found[view.name] != view.comment
    ]


def check_scratch() -> list[str]:
    """Migrate a throw-away database of a throw-away server to the head and check it for drift."""
    from db.bootstrap import bootstrap
    from db.embedded import EmbeddedServer

    with tempfile.TemporaryDirectory(prefix="stronglens-check-") as home:
        server = EmbeddedServer(Path(home))
        server.start()
        try:
            url = server.url()
            bootstrap(url)
            engine = create_engine(url)
            migrate.upgrade(engine)
            lines = check(engine)
            engine.dispose()
            return lines
        finally:
            server.remove()


if __name__ == "__main__":
    differences = check_scratch()
    print("\n".join(differences) or f"no drift: models, SQL files and migrations agree at {migrate.head()}")
    sys.exit(1 if differences else 0)
