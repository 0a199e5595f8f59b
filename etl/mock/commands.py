"""Command of stage 2: `stronglens mock sky`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl.mock.sky import SkySummary


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    mock = typer.Typer(help="A stand-in survey in DR10's formats.", no_args_is_help=True)
    mock.callback()(_mock)
    mock.command("sky")(_sky)
    app.add_typer(mock, name="mock")


def _mock() -> None:
    """Render a stand-in survey in DR10's formats."""


def _sky(
    out: Annotated[Path, typer.Option("--out", help="New or empty folder for the coadds and sweeps.")],
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of every random number (default 42).")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file laid over the declared defaults.")] = None,
) -> None:
    """Render patches of a mock sky around the candidates in the catalog. A finished sky is left as it is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from db.config import load_config
    from db.engine import open_engine
    from etl.mock.config import SkyConfig
    from etl.mock.stage import make_sky

    settings = load_config(SkyConfig, config, seed=seed)
    engine = open_engine()
    columns = ("mock sky", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("patches", total=None)
        summary = make_sky(engine, out, settings, lambda done, total: bar.update(task, completed=done, total=total))
    _show(summary)


def _show(summary: SkySummary) -> None:
    from rich.console import Console
    from rich.table import Table

    state = "already rendered" if summary.already_rendered else "rendered"
    typer.echo(
        f"mock sky (not observations) {state} in {summary.out}: seed {summary.seed}, {summary.n_patches:,} patches, "
        f"{summary.n_tier_a:,} tier A + {summary.n_tier_b:,} tier B candidates, "
        f"{summary.n_pool_galaxies:,} pool galaxies, {summary.n_rows:,} rows in {summary.n_sweep_files:,} sweep files"
    )
    grid = Table(
        "arcs as declared", *(f"tier {tier}" for tier in summary.arcs), title="10 / 50 / 90 % of what was drawn"
    )
    for key in next(iter(summary.arcs.values())):
        grid.add_row(key, *(" / ".join(f"{value:.2f}" for value in arcs[key]) for arcs in summary.arcs.values()))
    Console().print(grid)
