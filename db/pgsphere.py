"""The door for users of pg_sphere: functions that speak `spoint`, made only where that extension is.

The extension is optional and may come long after the schema, so a migration makes them if it can, and
`stronglens db bootstrap` makes what is missing.
"""

from __future__ import annotations

import logging

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from db.copy import psycopg_connection
from db.definitions import pg_sphere_functions

_log = logging.getLogger(__name__)


def open_door(connection: Connection) -> list[str]:
    """Make the extension where the server offers it, and its functions where the schema is ready; return what was made.

    Nothing here is needed, so a user who may not do it is told so in the log and nothing fails.
    """
    try:
        with connection.begin_nested():
            return _extension(connection) + _functions(connection)
    except (DBAPIError, psycopg.Error) as exc:
        _log.info("the door for pg_sphere was not made: %s", " ".join(str(getattr(exc, "orig", exc)).split()))
    return []


def _extension(connection: Connection) -> list[str]:
    offered = text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_sphere'")
    if _has_pg_sphere(connection) or not connection.scalar(offered):
        return []
    connection.execute(text("CREATE EXTENSION pg_sphere"))
    return ["extension pg_sphere"]


def _functions(connection: Connection) -> list[str]:
    """Make what is missing, and give it to the owner of `results.cone`: migrations must be able to drop it."""
    owner = connection.scalar(
        text("SELECT proowner::regrole::text FROM pg_proc WHERE oid = to_regproc('results.cone')")
    )
    if owner is None or not _has_pg_sphere(connection):
        return []
    made = []
    for function in pg_sphere_functions():
        name = f"{function.schema}.{function.name}"
        if connection.scalar(text("SELECT to_regproc(:name)"), {"name": name}) is None:
            driver = psycopg_connection(connection)
            driver.execute(function.sql.encode())
            driver.execute(sql.SQL("ALTER FUNCTION {} OWNER TO {}").format(sql.SQL(name), sql.SQL(str(owner))))
            driver.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO stronglens_reader").format(sql.SQL(name)))
            made.append(f"function {name}")
    return made


def _has_pg_sphere(connection: Connection) -> bool:
    return bool(connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'pg_sphere'")))
