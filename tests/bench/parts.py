"""A benchmark of several parts: run those that are asked for, keep the others, print the table, say what was missed."""

from __future__ import annotations

import datetime as dt
import importlib
import importlib.metadata
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from db.provenance import code_sha256, git_commit
from db.settings import CHECKOUT
from tests.bench import report
from tests.bench.limits import Measure
from tests.bench.machine import machine

FOLDER = CHECKOUT / "build" / "bench"


@dataclass(frozen=True)
class Bench:
    """A package of parts, each a module with `measure(folder, sizes, console) -> list[Measure]`."""

    title: str
    package: str
    parts: tuple[str, ...]
    libraries: tuple[str, ...]

    def run(self, only: str, sizes: object, *, is_tiny: bool) -> None:
        """Measure the parts that `only` names, comma-separated; exit with 1 when a limit was missed."""
        wanted = [part.strip() for part in only.split(",")]
        if unknown := [part for part in wanted if part not in self.parts]:
            raise typer.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(self.parts)}")
        out = Console()
        FOLDER.mkdir(parents=True, exist_ok=True)
        name = self.package.rsplit(".", 1)[-1]
        target = FOLDER / f"{name}{'-tiny' if is_tiny else ''}.json"
        body = report.load(target) | {
            "title": self.title,
            "commit": git_commit(),
            "code_sha256": code_sha256(),
            "started_at": _now(),
            "machine": machine(FOLDER),
            "versions": _versions(self.libraries),
        }
        body.setdefault("parts", {})
        for part in self.parts:
            if part in wanted:
                out.rule(part)
                body["parts"][part] = self._measured(part, sizes, out)
                report.save(target, body)
        report.show(body, out)
        out.print(f"written: {target} and {target.with_suffix('.md').name}")
        if not is_tiny and (missed := report.missed(body)):
            out.print(f"[red]limits missed: {'; '.join(missed)}[/red]")
            raise typer.Exit(1)

    def _measured(self, part: str, sizes: object, out: Console) -> dict[str, Any]:
        started_at, start = _now(), time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="bench-", dir=FOLDER) as folder:
            module = importlib.import_module(f"{self.package}.{part}")
            measures: list[Measure] = module.measure(Path(folder), sizes, out)
        seconds = time.perf_counter() - start
        rows = [measure.as_dict() for measure in [*measures, Measure("this part took", seconds, "s")]]
        return {"started_at": started_at, "commit": git_commit(), "seconds": seconds, "measures": rows}


def _versions(libraries: Sequence[str]) -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
