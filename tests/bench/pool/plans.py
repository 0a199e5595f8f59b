"""The plans of the statements that a stage really ran, as the server itself writes them down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

_QUERY_CHARACTERS = 200
_LINE_CHARACTERS = 400
_SHOWN_EACH = 3


@contextmanager
def plans_of(engine: Engine, *, at_least_ms: int) -> Iterator[list[str]]:
    """Collect the plan of each statement that takes this long or longer, those within functions included."""
    plans: list[str] = []

    def listen(driver: Any, _record: Any) -> None:
        driver.execute("LOAD 'auto_explain'")
        driver.execute(f"SET auto_explain.log_min_duration = {at_least_ms}")
        driver.execute("SET auto_explain.log_nested_statements = on")
        driver.execute("SET client_min_messages = log")
        driver.commit()
        driver.add_notice_handler(note)

    def note(notice: Any) -> None:
        message = notice.message_primary or ""
        if message.startswith("duration:") and "plan:" in message:
            plans.append(shortened(message))

    event.listen(engine, "connect", listen)
    engine.dispose()
    try:
        yield plans
    finally:
        event.remove(engine, "connect", listen)
        engine.dispose()


def shortened(message: str) -> str:
    """Cut what the server says to the time, the beginning of the statement, and the plan without its repetitions."""
    lines = message.splitlines()
    start = next((number for number, line in enumerate(lines) if "  (cost=" in line), len(lines))
    query = " ".join(" ".join(lines[1:start]).split())
    return "\n".join([lines[0], f"{query[:_QUERY_CHARACTERS]} ...", *_without_repetitions(lines[start:])])


def _without_repetitions(plan: list[str]) -> Iterator[str]:
    """Show nodes that repeat, such as the hundred index ranges of a cone, a few times and then count them."""
    shown: Counter[str] = Counter()
    depth: int | None = None
    for line in plan:
        indent = len(line) - len(line.lstrip())
        if depth is not None and indent > depth:
            continue
        depth = None
        if "  (cost=" in line:
            node = line.partition("  (cost=")[0]
            shown[node] += 1
            if shown[node] > _SHOWN_EACH:
                depth = indent
                continue
        yield line[:_LINE_CHARACTERS]
    yield from (f"[{n} x {node.strip()}]" for node, n in shown.items() if n > _SHOWN_EACH)
