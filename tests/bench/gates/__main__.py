"""`python -m tests.bench.gates`: plant, audit, count; exit 1 when a shortcut of the issue was missed too often.

Each seed is kept as it is done, so that a run that was stopped goes on.
"""

from __future__ import annotations

import datetime as dt
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import Progress

from db.provenance import code_sha256, git_commit
from db.settings import CHECKOUT
from tests.bench.gates import table
from tests.bench.gates.trial import digest, run_seed
from tests.bench.machine import machine

FOLDER = CHECKOUT / "build" / "bench"
MIN_POWER = 0.8
"""Share of skies in which a shortcut of the issue must be found; and one minus the clean skies that may be refused."""


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Number of skies, seeds 1, 2, ...")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    candidates: Annotated[int, typer.Option(min=60, help="Lens candidates of a sky.")] = 300,
) -> None:
    """Plant known shortcuts in mock skies, and count how many the audit finds."""
    out = Console()
    folder = FOLDER / "gates"
    folder.mkdir(parents=True, exist_ok=True)
    started_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    trials = sorted(_trials(folder, seeds, workers, candidates), key=lambda trial: trial["seed"])
    text = "\n".join(table.markdown(trials))
    body = {
        "title": "Shortcuts planted in mock skies",
        "started_at": started_at,
        "commit": git_commit(),
        "code_sha256": code_sha256(),
        "machine": machine(FOLDER),
        "seeds": [trial["seed"] for trial in trials],
        "n_candidates": candidates,
        **table.as_dict(trials),
    }
    target = FOLDER / "gates.json"
    target.write_text(json.dumps(body, indent=1) + "\n")
    target.with_suffix(".md").write_text(f"# {body['title']}\n\n{text}\n")
    out.print(Markdown(text))
    out.print(f"written: {target} and {target.with_suffix('.md').name}")
    if missed := _missed(trials):
        out.print(f"[red]missed: {'; '.join(missed)}[/red]")
        raise typer.Exit(1)


def _missed(trials: list[dict[str, Any]]) -> list[str]:
    asked = [row for row in table.found(trials) if row.is_of_the_issue]
    return [
        f"{row.what}: refused {row.k} of {row.n}"
        for row in asked
        if (row.k > (1 - MIN_POWER) * row.n if row.key == "clean" else row.k < MIN_POWER * row.n)
    ]


def _trials(folder: Path, n_seeds: int, workers: int, candidates: int) -> Iterator[dict[str, Any]]:
    """Give what is there already, and make the rest; BLAS keeps to one thread, since the processes share the cores."""
    own = digest()
    open_seeds = []
    for seed in range(1, n_seeds + 1):
        there = _read(_path(folder, seed, candidates))
        if there is not None and there["digest"] == own:
            yield there
        else:
            open_seeds.append(seed)
    if not open_seeds:
        return
    os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool, Progress() as progress:
        bar = progress.add_task(f"{len(open_seeds)} skies", total=len(open_seeds))
        for future in as_completed([pool.submit(run_seed, seed, candidates) for seed in open_seeds]):
            trial = future.result() | {"digest": own}
            target = _path(folder, trial["seed"], candidates)
            partial = target.with_suffix(".part")
            partial.write_text(json.dumps(trial))
            partial.replace(target)
            progress.advance(bar)
            yield trial


def _path(folder: Path, seed: int, candidates: int) -> Path:
    return folder / f"seed-{seed}-{candidates}.json"


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


if __name__ == "__main__":
    typer.run(main)
