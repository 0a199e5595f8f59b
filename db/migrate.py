"""Upgrade, downgrade and the revision of a database; what it should look like is in `db.drift`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db.errors import SchemaError

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the schema up to a revision.

    Raises
    ------
    SchemaError
        When the revision is unknown, or another session holds a lock that the upgrade waits for.
    """
    _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema down to a revision (`base` for none).

    Raises
    ------
    SchemaError
        When the revision is unknown or a downgrade does not exist.
    """
    _run(engine, command.downgrade, revision)


def current(engine: Engine) -> str | None:
    """Revision of the database; None when it has no schema of ours."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection, opts={"version_table_schema": "public"}).get_current_revision()


@cache
def head() -> str:
    """The newest revision that this code knows."""
    revision = _scripts().get_current_head()
    if revision is None:
        raise SchemaError(f"no migrations in {MIGRATIONS}; the checkout is incomplete")
    return revision


@cache
def known_revisions() -> frozenset[str]:
    """All revisions that this code knows."""
    return frozenset(script.revision for script in _scripts().walk_revisions())


def alembic_config() -> Config:
    """Alembic's configuration; there is no ini file."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def _run(engine: Engine, action: object, revision: str) -> None:
    config = alembic_config()
    found = current(engine)
    if found is not None and found not in known_revisions():
        raise SchemaError(
            f"the schema is at revision {found}, which this code does not know (it knows up to {head()}): "
            "update this checkout"
        )
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            action(config, revision)  # type: ignore[operator]
    except CommandError as exc:
        known = ", ".join(sorted(known_revisions()))
        raise SchemaError(f"revision {revision}: {' '.join(str(exc).split())} (known: {known})") from exc
    except OperationalError as exc:
        reason = str(exc.orig).strip().splitlines()[0]
        raise SchemaError(f"migration to {revision} stopped: {reason}; end the other sessions and try again") from exc
