"""One process at a time for one piece of work, held to by the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

from db.errors import BusyError


@contextmanager
def only_one(engine: Engine, work: str) -> Iterator[None]:
    """Hold the advisory lock of a piece of work; the server lets go of it when this process dies.

    Raises
    ------
    BusyError
        When another process holds it.
    """
    key = func.hashtextextended(work, 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(key))):
            raise BusyError(f"another process is at work on {work}: wait until it ends")
        try:
            yield
        finally:
            try:
                connection.execute(select(func.pg_advisory_unlock(key)))
            except DBAPIError:  # the server went away meanwhile, and its lock with it
                connection.invalidate()
