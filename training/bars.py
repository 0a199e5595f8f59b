"""The progress bar of training's commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from training.progress import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar for each task that reports, on a terminal, until the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks: dict[str, int] = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task)
            bars.update(bars.task_ids[list(tasks).index(task)], completed=done, total=total)

        yield show
