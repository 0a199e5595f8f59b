"""The table of a run of any benchmark, on the screen and as Markdown, and the JSON that keeps everything.

The JSON holds `title`, `started_at`, `commit`, `machine`, `versions` and `parts`; each part its measures, when it
was run and how long it took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.limits import Measure

Sections = dict[str, list[Measure]]


def load(path: Path) -> dict[str, Any]:
    """Read an earlier run's JSON, so that a run of some parts keeps the others; empty when there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def save(path: Path, body: dict[str, Any]) -> None:
    """Write JSON, and the table beside it as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join(_markdown(body)) + "\n")


def sections(body: dict[str, Any]) -> Sections:
    """Give the measures of all parts that were run."""
    return {
        name: [Measure(**{key: value for key, value in row.items() if key != "verdict"}) for row in part["measures"]]
        for name, part in body["parts"].items()
    }


def missed(body: dict[str, Any]) -> list[str]:
    """Name the limits that were not kept."""
    return [measure.name for part in sections(body).values() for measure in part if measure.verdict == "FAIL"]


def show(body: dict[str, Any], out: Console) -> None:
    """Print the plans and the table."""
    for name, plans in body["parts"].get("search", {}).get("plans", {}).items():
        out.print(f"\n[bold]plan: {name}[/bold]")
        for plan in plans:
            out.print(plan, markup=False, highlight=False, soft_wrap=True)
    table = Table("what", "value", "unit", "limit", "", title=body["title"])
    table.columns[1].justify = "right"
    for name, measures in sections(body).items():
        table.add_section()
        table.add_row(f"[bold]{name}[/bold]")
        for measure in measures:
            colour = {"PASS": "green", "FAIL": "red", "": "default"}[measure.verdict]
            verdict = f"[{colour}]{measure.verdict}[/{colour}]"
            table.add_row(measure.name, number(measure.value), measure.unit, measure.limit, verdict)
    out.print(table)


def number(value: float) -> str:
    """Write a number with as many digits as mean something."""
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def _markdown(body: dict[str, Any]) -> Iterator[str]:
    machine = body["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in body["versions"].items())
    yield f"# {body['title']}"
    yield ""
    yield (
        f"{body['started_at']}, commit {body['commit']}. {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB memory. {versions}."
    )
    for name, measures in sections(body).items():
        part = body["parts"][name]
        yield f"\n## {name}\n"
        yield f"{part['seconds']:.0f} s, from {part['started_at']}.\n"
        yield "| what | value | unit | limit | |\n|---|---:|---|---|---|"
        for row in measures:
            what = row.name.replace("|", "\\|")
            yield f"| {what} | {number(row.value)} | {row.unit} | {row.limit} | {row.verdict} |"
