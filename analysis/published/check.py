"""The stage `stronglens published check`."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from analysis.published.checks import (
    Check,
    baseline_recall,
    baseline_reliability,
    confident_lenses,
    labelled_scores,
)
from analysis.published.scratch import scratch


def check_published(engine: Engine, folder: Path) -> list[Check]:
    """Run every published result through our functions and views; nothing of it stays in the database.

    Raises
    ------
    PublishedFileError
        When a file is absent, damaged, or lacks what is needed of it.
    """
    with scratch(engine) as place:
        return [
            check
            for part in (confident_lenses, baseline_recall, baseline_reliability, labelled_scores)
            for check in part(place, folder)
        ]


def show(checks: list[Check], console: Console) -> None:
    """Print expected, found, ok."""
    table = Table("result", "expected", "found", "ok", box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:3]:
        column.justify = "right"
    section = ""
    for check in checks:
        if check.section != section:
            section = check.section
            table.add_section()
            table.add_row(f"[bold]{section}[/]")
        verdict = "ok" if check.is_ok else "[bold red]DIFFERS[/]"
        table.add_row(check.what, _number(check.expected), _number(check.found), verdict)
    console.print(table)
    n_ok = sum(check.is_ok for check in checks)
    console.print(f"{n_ok} of {len(checks)} numbers are what was expected", highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.7f}"
