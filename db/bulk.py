"""The pool without its keys and indexes: what a first load drops before it writes, and builds after.

Writing 114 million rows into indexes that exist is several times slower than writing them and sorting once. Whether
the pool is in this state is read from the database (it has no primary key), so an interrupted load goes on as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from sqlalchemy import Connection, Engine, Executable, ForeignKeyConstraint, Index, Table, exists, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import AddConstraint, CreateIndex, DropConstraint, DropIndex

from db.errors import DbError, DuplicateKeyError, MissingInputError
from db.models import Base
from db.models.catalog import Galaxy

Progress = Callable[[str], None]
"""Told the name of each index once it is built."""

LOCK = 0x5354_5242  # "STRB": one process at a time drops or builds the pool's indexes
_N_OFFENDERS = 5


def is_bulk(connection: Connection) -> bool:
    """Tell whether the pool's first load is under way: its primary key is not there yet."""
    has_key = text(
        "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'p' AND conrelid = to_regclass('catalog.galaxy'))"
    )
    return not connection.scalar(has_key)


def require_indexes(connection: Connection) -> None:
    """Refuse to go on while the pool has no indexes.

    Raises
    ------
    MissingInputError
        When the pool's first load has not ended.
    """
    if is_bulk(connection):
        raise MissingInputError(
            "catalog.galaxy has no indexes yet, its first load has not ended: run `stronglens sweeps load` again, "
            "or `stronglens sweeps index` if all files are in"
        )


def begin_bulk(engine: Engine) -> bool:
    """Drop the keys and indexes of an empty pool; return whether the pool is without them now.

    A pool that holds rows keeps what it has. Foreign keys that point at the pool go too: nothing can refer to an empty
    table.
    """
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        if is_bulk(connection):
            return True
        connection.execute(text("LOCK TABLE catalog.galaxy IN ACCESS EXCLUSIVE MODE"))
        if connection.scalar(select(exists().select_from(Galaxy))):
            return False
        for reference in _references():
            connection.execute(DropConstraint(reference))
        connection.execute(DropConstraint(_pool().primary_key))
        for index in _indexes():
            connection.execute(DropIndex(index))
        # A vacuum amid the load would read everything once more; one comes when the indexes are there.
        connection.execute(text("ALTER TABLE catalog.galaxy SET (autovacuum_enabled = off)"))
    return True


def build_indexes(engine: Engine, *, n_at_once: int = 2, on_built: Progress | None = None) -> bool:
    """Build the pool's key and indexes, several at once, then VACUUM and ANALYZE; return False when they were there.

    What an interrupted build left is kept, and the rest is built.

    Raises
    ------
    DuplicateKeyError
        When a key is there more than once; the message names the first ones and their files.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
        guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
        try:
            if not is_bulk(guard):
                return False
            _build(engine, n_at_once, on_built or (lambda _: None))
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
    return True


def _build(engine: Engine, n_at_once: int, on_built: Progress) -> None:
    key = str(_pool().primary_key.name)
    # The key's index is made like any other, which leaves the table open for the others at the same time.
    statements: dict[str, Executable | CreateIndex] = {
        key: text(f"CREATE UNIQUE INDEX IF NOT EXISTS {key} ON catalog.galaxy (ls_id)"),
        **{str(index.name): CreateIndex(index, if_not_exists=True) for index in _indexes()},
    }
    with ThreadPoolExecutor(n_at_once) as threads:
        for name in threads.map(lambda name: _create(engine, name, statements[name]), statements):
            on_built(name)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE catalog.galaxy ADD CONSTRAINT {key} PRIMARY KEY USING INDEX {key}"))
        for reference in _references():
            connection.execute(AddConstraint(reference, isolate_from_table=False))
        connection.execute(text("ALTER TABLE catalog.galaxy RESET (autovacuum_enabled)"))
    _vacuum(engine)


def analyze(engine: Engine) -> None:
    """Let the planner know the pool's new rows, so that searches use their index at once."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE catalog.galaxy"))


def _vacuum(engine: Engine) -> None:
    """Mark the new pages as visible to all, so that a look into an index is enough to know that a key is there."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) catalog.galaxy"))


def _create(engine: Engine, name: str, statement: Executable | CreateIndex) -> str:
    try:
        with engine.begin() as connection:
            connection.execute(statement)
    except IntegrityError as exc:
        if not isinstance(exc.orig, psycopg.errors.UniqueViolation):
            raise
        raise DuplicateKeyError(_offenders(engine)) from exc
    return name


def _offenders(engine: Engine) -> str:
    """Name the first keys that are there more than once, and the files they came from."""
    statement = text(
        "SELECT g.ls_id, count(*) AS n, string_agg(DISTINCT f.name, ', ' ORDER BY f.name) AS files "
        "FROM catalog.galaxy AS g JOIN catalog.sweep_file AS f USING (sweep_file_id) "
        "GROUP BY g.ls_id HAVING count(*) > 1 ORDER BY g.ls_id"
    )
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    named = "; ".join(f"ls_id {row.ls_id} {row.n} times, from {row.files}" for row in rows[:_N_OFFENDERS])
    return (
        f"{len(rows)} keys are in catalog.galaxy more than once ({named}): take one of the files out with "
        "`stronglens sweeps unload NAME`, then run `stronglens sweeps index`"
    )


def _pool() -> Table:
    table = Galaxy.__table__
    if not isinstance(table, Table):
        raise DbError("catalog.galaxy is not mapped to a table")
    return table


def _indexes() -> list[Index]:
    """Return the pool's indexes, the longest to build first."""
    return sorted(_pool().indexes, key=lambda index: (index.name != "ix_galaxy_q3c", str(index.name)))


def _references() -> Iterable[ForeignKeyConstraint]:
    """Return the foreign keys of other tables that point at the pool."""
    for table in Base.metadata.sorted_tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
            if constraint.referred_table is _pool():
                yield constraint
