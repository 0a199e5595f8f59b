"""What needs a superuser, once per server: the database, Q3C, the readers' role, and pg_sphere where it is offered.

It also closes the schema `public` to everybody but its owner, where PostgreSQL 14 or older made the database and left
it open: `results.nearest` runs with its owner's rights and finds Q3C there.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from db.engine import connectable, describe, one_line
from db.errors import BootstrapError, ServerError
from db.pgsphere import open_door

READER = "stronglens_reader"
# SQLSTATEs: another session made the same thing a moment ago (as object, or as row of the server's catalog).
_ALREADY_THERE = frozenset({"42710", "42P04", "23505"})
_NOT_ALLOWED = "42501"
_STATEMENTS = {
    "extension": "CREATE EXTENSION IF NOT EXISTS q3c",
    "role": f"CREATE ROLE {READER} NOLOGIN",
    "closed": "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
}


def bootstrap(url: URL) -> list[str]:
    """Make the database, the extension and the role that are missing, close schema public; return what was done.

    Raises
    ------
    ServerError
        When the server cannot be reached, or Q3C is not installed on its machine.
    BootstrapError
        When the user may not do it; the message holds the statement for an administrator.
    """
    engine = connectable(url)
    made = []
    try:
        if _database_is_missing(url) and _create_database(url):
            made.append(f"database {url.database}")
        with engine.begin() as connection:
            made += [name for kind, name in _missing(connection) if _execute(connection, kind)]
            made += _close_public(connection)
            made += open_door(connection)
    except DBAPIError as exc:
        raise ServerError(f"cannot prepare {describe(url)}: {one_line(exc)}") from exc
    finally:
        engine.dispose()
    return made


def _database_is_missing(url: URL) -> bool:
    engine = connectable(url)
    try:
        engine.connect().close()
    except OperationalError as exc:
        # A failed connection carries no SQLSTATE in the driver, so only the server's words tell.
        if f'database "{url.database}" does not exist' not in str(exc.orig):
            raise
        return True
    finally:
        engine.dispose()
    return False


def _create_database(url: URL) -> bool:
    """Make the database; False when another session made it a moment before."""
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(url.database))).as_string()
    engine = connectable(url.set(database="postgres"))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
    except DBAPIError as exc:
        if _sqlstate(exc) in _ALREADY_THERE:
            return False
        if _sqlstate(exc) != _NOT_ALLOWED:
            raise
        raise BootstrapError(
            f"database {url.database} does not exist and this user may not make it ({one_line(exc)}): "
            f"ask an administrator to run: {statement}"
        ) from exc
    finally:
        engine.dispose()
    return True


def _missing(connection: Connection) -> list[tuple[str, str]]:
    has_extension = connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'q3c'"))
    roles = text("SELECT count(*) FROM pg_roles WHERE rolname = :name")
    has_role = connection.scalar(roles, {"name": READER})
    if not has_extension and not connection.scalar(
        text("SELECT count(*) FROM pg_available_extensions WHERE name = 'q3c'")
    ):
        major = int(connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
        raise ServerError(
            f"Q3C is not installed on the server's machine: apt-get install postgresql-{major}-q3c there; "
            "managed PostgreSQL services often do not offer it, so you may need a server of your own"
        )
    wanted = [("extension", "extension q3c", has_extension), ("role", f"role {READER}", has_role)]
    return [(kind, name) for kind, name, there in wanted if not there]


def _close_public(connection: Connection) -> list[str]:
    """Take the right to create in schema public from everybody; whoever may not do it gets a warning and no error."""
    is_open = text("SELECT has_schema_privilege('public', 'public', 'CREATE')")  # the role PUBLIC, the schema public
    if not connection.scalar(is_open):
        return []
    _execute(connection, "closed")
    if connection.scalar(is_open):
        raise BootstrapError(
            "this needs the owner of schema public, in which anybody may create functions: ask an administrator to run "
            f"in this database: {_STATEMENTS['closed']}"
        )
    return ["schema public closed to others"]


def _execute(connection: Connection, kind: str) -> bool:
    """Run one statement; False when another session did the same a moment before."""
    try:
        with connection.begin_nested():
            connection.execute(text(_STATEMENTS[kind]))
    except DBAPIError as exc:
        if _sqlstate(exc) in _ALREADY_THERE:
            return False
        if _sqlstate(exc) != _NOT_ALLOWED:
            raise
        raise BootstrapError(
            f"this needs a superuser ({one_line(exc)}): ask an administrator to run in this database: "
            f"{_STATEMENTS[kind]}"
        ) from exc
    return True


def _sqlstate(exc: DBAPIError) -> str | None:
    return getattr(exc.orig, "sqlstate", None)
