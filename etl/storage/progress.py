"""The bar that a person watches: files, bytes, rate, time to go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from etl.storage.findings import Watch


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that something is done that cannot be counted."""
    with Console(stderr=True).status(what):
        yield


@contextmanager
def progress(what: str) -> Iterator[Watch]:
    """Show how far files have come; nothing where nobody watches."""
    console = Console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.fields[n_files]:,}/{task.fields[of_files]:,} files"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Bar(bar, bar.add_task(what, total=None, n_files=0, of_files=0))


class _Bar:
    """A task of a progress bar that counts bytes and files."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task, self._n_files = bar, task, 0

    def expect(self, n_files: int, n_bytes: int) -> None:
        self._bar.update(self._task, total=n_bytes, of_files=n_files)

    def bytes_done(self, n_bytes: int) -> None:
        self._bar.advance(self._task, n_bytes)

    def file_done(self) -> None:
        self._n_files += 1
        self._bar.update(self._task, n_files=self._n_files)
