"""`python -m tests.bench.cutouts`: measure, print the table, write the JSON, exit 1 when a limit was missed."""

from __future__ import annotations

import datetime as dt
import importlib
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from db.provenance import code_sha256, git_commit
from db.settings import CHECKOUT
from tests.bench import report
from tests.bench.cutouts.sizes import Sizes, tiny
from tests.bench.limits import Measure
from tests.bench.machine import machine

PARTS = ("slicing", "validation", "packing", "memory")
FOLDER = CHECKOUT / "build" / "bench"
_PACKAGES = ("numpy", "fitsio", "astropy", "torch", "pyarrow", "zarr", "h5py", "safetensors", "webdataset")


def main(
    only: Annotated[str, typer.Option(help=f"Parts to run, comma-separated: {', '.join(PARTS)}.")] = ",".join(PARTS),
    is_tiny: Annotated[bool, typer.Option("--tiny", help="Show that it works, in seconds, without limits.")] = False,
) -> None:
    """Measure cutouts. Needs a machine that does nothing else."""
    wanted = [part.strip() for part in only.split(",")]
    if unknown := [part for part in wanted if part not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: expected some of {', '.join(PARTS)}")
    out = Console()
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / ("cutouts-tiny.json" if is_tiny else "cutouts.json")
    body = report.load(target) | {
        "title": "Cutouts",
        "commit": git_commit(),
        "code_sha256": code_sha256(),
        "started_at": _now(),
        "machine": machine(FOLDER),
        "versions": _versions(),
    }
    body.setdefault("parts", {})
    for name in PARTS:
        if name in wanted:
            out.rule(name)
            body["parts"][name] = _part(name, tiny() if is_tiny else Sizes(), out)
            report.save(target, body)
    report.show(body, out)
    out.print(f"written: {target} and {target.with_suffix('.md').name}")
    if not is_tiny and (missed := report.missed(body)):
        out.print(f"[red]limits missed: {'; '.join(missed)}[/red]")
        raise typer.Exit(1)


def _part(name: str, sizes: Sizes, out: Console) -> dict[str, Any]:
    started_at, start = _now(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="cutouts-", dir=FOLDER) as folder:
        part = importlib.import_module(f"tests.bench.cutouts.{name}")
        measures: list[Measure] = part.measure(Path(folder), sizes, out)
    seconds = time.perf_counter() - start
    rows = [measure.as_dict() for measure in [*measures, Measure("this part took", seconds, "s")]]
    return {"started_at": started_at, "commit": git_commit(), "seconds": seconds, "measures": rows}


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    typer.run(main)
