"""The door: which database, and whether it is fit for this code."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from db.embedded.binaries import OLDEST_MAJOR
from db.errors import BootstrapError, ConfigError, SchemaError, ServerError
from db.secrets import stored_password
from db.settings import settings

VARIABLE = "STRONGLENS_DATABASE_URL"
_DRIVER = "postgresql+psycopg"
_KEY_PASSWORD = "sslpassword"  # noqa: S105 - the name of a parameter
_KEEPALIVES = {"idle": 60, "interval": 10, "count": 6}
_SHAPE = "postgresql://user:password@host:5432/database"


def database_url() -> URL:
    """Say which database to use, with its password, starting the embedded server when no other is configured.

    Raises
    ------
    ConfigError
        When the variable is not a PostgreSQL URL, or a source of its password cannot be read.
    ServerError
        When the embedded server cannot be started.
    """
    configured = configured_url()
    if configured is not None:
        return with_password(configured)
    # Both are needed only here, and bootstrap imports this module.
    from db.bootstrap import bootstrap
    from db.embedded import EmbeddedServer

    server = EmbeddedServer(settings().home)
    server.start()
    url = server.url()
    bootstrap(url)
    return url


def configured_url() -> URL | None:
    """Give the URL of ``STRONGLENS_DATABASE_URL`` as it stands there, with our driver; None when it is not set."""
    value = settings().database_url
    if value is None:
        return None
    try:
        url = make_url(value)
    except (ArgumentError, ValueError) as exc:
        # The value itself is not shown: it may hold a password.
        raise ConfigError(f"{VARIABLE} is not a URL; expected {_SHAPE}") from exc
    if url.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise ConfigError(f"{VARIABLE} is not a PostgreSQL URL ({describe(url)}); expected {_SHAPE}")
    return url.set(drivername=_DRIVER)


def with_password(url: URL) -> URL:
    """Fill in the password of a URL that has none, so that it need not travel with tasks or stand in step arguments.

    The first that there is: the URL's own, that of ``STRONGLENS_DATABASE_URL`` if it names the same database, the file
    ``STRONGLENS_DATABASE_PASSWORD_FILE``, the AWS secret ``STRONGLENS_DATABASE_SECRET``. Without any the URL is
    returned as it is: a socket may trust its user, and libpq looks into ``~/.pgpass`` itself. What opens the client's
    key (``sslpassword``) comes from ``STRONGLENS_DATABASE_URL`` only.

    Raises
    ------
    ConfigError
        When the file or the secret cannot be read or holds no password.
    """
    if _own_password(url) is not None:
        return url
    password = None
    configured = configured_url()
    if configured is not None and _place(configured) == _place(url):
        password = _own_password(configured)
        if _KEY_PASSWORD in configured.query and _KEY_PASSWORD not in url.query:
            url = url.update_query_dict({_KEY_PASSWORD: configured.query[_KEY_PASSWORD]})
    if password is None:
        password = stored_password()
    return url if password is None else url.set(password=password)


def has_password(url: URL) -> bool:
    """Say whether a URL carries a password: before the host, as a parameter, or that of a client's key."""
    return _own_password(url) is not None or _KEY_PASSWORD in url.query


def without_password(url: URL) -> URL:
    """Return the URL without any password, for tasks and step arguments."""
    bare = URL.create(**(url._asdict() | {"password": None}))
    return bare.difference_update_query(["password", _KEY_PASSWORD])


def _own_password(url: URL) -> str | None:
    """Return the password that a URL logs in with."""
    if url.password is not None or "password" not in url.query:
        return url.password
    return str(url.query["password"])


def open_engine(*, check_schema: bool = True) -> Engine:
    """Connect to the database and verify that it is fit.

    Parameters
    ----------
    check_schema
        False for the commands that bring the schema to the revision of this code.

    Raises
    ------
    ConfigError
        When the configured URL is wrong.
    ServerError
        When the server cannot be reached or is older than PostgreSQL 15.
    BootstrapError
        When the database lacks Q3C.
    SchemaError
        When the schema is not at this code's revision.
    """
    url = database_url()
    engine = connectable(url)
    try:
        with engine.connect() as connection:
            refuse_old_server(int(connection.scalar(text("SHOW server_version_num")) or 0))
            _check_q3c(connection)
            if check_schema:
                _check_revision(connection)
    except DBAPIError as exc:
        engine.dispose()
        raise ServerError(f"cannot use {describe(url)}: {one_line(exc)}") from exc
    except Exception:
        engine.dispose()
        raise
    return engine


def connectable(url: URL, *, is_load_worker: bool = False) -> Engine:
    """Make an engine for ``url`` with our connection settings; connects and verifies nothing.

    A side that vanishes without a word is given up after two minutes. For the worker of a load the server, too, is told
    to look whether the client lives: a node of a cluster that is gone would else hold its locks for hours. And such a
    worker does not wait until its commits are on disk: a crash takes a file's rows, its ledger row and the end of its
    task together or not at all, so a file that is lost is loaded again, and the load's last commit waits for all.
    """
    # libpq takes the fallback unless the URL or the environment names the application otherwise.
    options: dict[str, Any] = {"fallback_application_name": "stronglens", "connect_timeout": 10}
    options |= {f"keepalives_{name}": value for name, value in _KEEPALIVES.items()}
    engine = create_engine(url, pool_pre_ping=True, connect_args=options)
    if is_load_worker:
        event.listen(engine, "connect", _prepare_load_worker)
    return engine


def _prepare_load_worker(connection: Any, _record: object) -> None:
    settings_ = {f"tcp_keepalives_{name}": str(value) for name, value in _KEEPALIVES.items()}
    for name, value in (settings_ | {"synchronous_commit": "off"}).items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    connection.commit()


def _place(url: URL) -> tuple[object, ...]:
    """Return what makes two URLs name the same database and user."""
    host, port = (url.host or url.query.get("host"), url.port or url.query.get("port", "5432"))
    return url.username, host, str(port), url.database


def describe(url: URL) -> str:
    """Render a URL for people: no password, and no query, which may hold one too."""
    host = url.query.get("host", "")
    place = f" at {host}" if isinstance(host, str) and host else ""
    return url.set(query={}).render_as_string(hide_password=True) + place


def one_line(exc: DBAPIError) -> str:
    """Give the driver's own words about a failure, without SQL, on one line."""
    return " ".join(str(exc.orig).split())


def refuse_old_server(version_number: int) -> None:
    """Refuse a server by its ``server_version_num`` (130004 is 13.4).

    Raises
    ------
    ServerError
        When it is older than PostgreSQL 15.
    """
    major = version_number // 10_000
    if major < OLDEST_MAJOR:
        raise ServerError(
            f"the server runs PostgreSQL {major}, {OLDEST_MAJOR} or newer is needed: upgrade it, "
            f"or unset {VARIABLE} to use the embedded server"
        )


def _check_q3c(connection: Connection) -> None:
    if not connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'q3c'")):
        name = connection.scalar(text("SELECT current_database()"))
        raise BootstrapError(f"database {name} lacks the Q3C extension: run `stronglens db bootstrap`")


def _check_revision(connection: Connection) -> None:
    from db import migrate

    expected = migrate.head()
    found = None
    if connection.scalar(text("SELECT to_regclass('public.alembic_version')")):
        found = connection.scalar(text("SELECT version_num FROM public.alembic_version"))
    if found is None:
        raise SchemaError(
            f"the database has no schema, this code needs revision {expected}: run `stronglens db upgrade`"
        )
    if found != expected:
        is_older = found in migrate.known_revisions()
        fix = "run `stronglens db upgrade`" if is_older else "this code does not know it: update this checkout"
        raise SchemaError(f"the schema is at revision {found}, this code needs {expected}: {fix}")
