"""Something that another session does at a chosen moment of a stage."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, event


def before_statement(engine: Engine, words: str, act: Callable[[], None]) -> None:
    """Do something once, on connections of its own, before the first statement that has some words in it."""
    waiting = [act]

    @event.listens_for(engine, "before_cursor_execute")
    def meanwhile(_connection: Connection, _cursor: object, sql: str, *_: object) -> None:
        if waiting and words in sql:
            waiting.pop()()
