"""Alembic's environment: one migration per transaction, short lock waits, one upgrade at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text

from db.engine import database_url
from db.models import SCHEMAS, Base

ADVISORY_LOCK = 0x5354_524C  # "STRL": two upgrades of one database wait for each other
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "0"  # an index over 114 M rows takes minutes; waiting for a lock may not


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Let alembic look at our schemas only."""
    return kind != "schema" or name in SCHEMAS


def run(connection: Connection) -> None:
    """Run the revisions that were asked for on an open connection."""
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.commit()
    try:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_schemas=True,
            include_name=include_name,
            version_table_schema="public",
            transaction_per_migration=True,
            compare_type=True,
            compare_server_default=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()


given = context.config.attributes.get("connection")
if isinstance(given, Connection):
    run(given)
else:
    engine = given if given is not None else create_engine(database_url(), poolclass=pool.NullPool)
    with engine.connect() as own:
        run(own)
