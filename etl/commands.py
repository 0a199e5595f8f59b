"""Commands of the stages from catalogs to validated cutouts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etl.catalogs import commands as catalogs
from etl.crossmatch import commands as crossmatch
from etl.cutouts import commands as cutouts
from etl.draw import commands as draw
from etl.emr import commands as emr
from etl.imports import commands as imports
from etl.mock import commands as mock
from etl.storage import commands as storage
from etl.sweeps import commands as sweeps

splits = typer.Typer(help="The sky's split into train, val and test.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the stages in the order in which they run."""
    catalogs.register(app)
    mock.register(app)
    sweeps.register(app)
    imports.register(app)
    app.command("match")(match)
    crossmatch.register(app)
    draw.register(app)
    app.add_typer(splits, name="splits")
    cutouts.register(app)
    emr.register(app)
    storage.register(app)


def match() -> None:
    """Match every known lens to its Tractor source, and list the galaxies too near one. Repeatable."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from db.engine import open_engine
    from etl.match import MatchConfig, match_lenses

    engine = open_engine()
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("match", total=None)
        results = match_lenses(
            engine,
            MatchConfig(),
            lambda survey, done, total: bar.update(task, description=survey, completed=done, total=total),
        )
    for result in results:
        typer.echo(
            f"{result.survey}: {result.n_matched:,} of {result.n_lenses:,} known lenses matched within 5 arcsec, "
            f"{result.n_positives_matched:,} of them positives; {result.n_neighbours:,} galaxies lie within 11 arcsec "
            f"of a known lens ({result.n_new_neighbours:,} new); {result.n_looked_for:,} lenses were looked for anew"
        )


@splits.callback()
def _splits() -> None:
    """Split the sky by cells."""


@splits.command("assign")
def assign(
    config: Annotated[Path | None, typer.Option(help="YAML file with the rule.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the scheme [default; of folds: cv and their number].")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the rule [42].")] = None,
    folds: Annotated[
        int | None, typer.Option(metavar="N", help="Make N schemes, NAME-f0 ..., each of which holds one fold out.")
    ] = None,
) -> None:
    """Give every cell of the sky its split, guard every draw, and check for leaks. Repeatable."""
    from db.config import load_config
    from db.engine import open_engine
    from etl.splits import SplitConfig, assign_splits

    if folds is not None:
        from etl.folds import FoldConfig, assign_folds

        for held_out in assign_folds(
            open_engine(), load_config(FoldConfig, config, name=name, seed=seed, n_folds=folds)
        ):
            parts = ", ".join(
                f"{split} {held_out.members.get(split, 0):,} ({held_out.positives.get(split, 0):,} positives)"
                for split in ("train", "val", "test")
            )
            typer.echo(
                f"{held_out.scheme}: {parts}; left out: {held_out.n_guard_drops:,} by the guard, "
                f"{held_out.n_test_sky_drops:,} in the locked test sky"
            )
        return
    result = assign_splits(open_engine(), load_config(SplitConfig, config, name=name, seed=seed))
    for kind, counts in (("cells", result.cells), ("members", result.members)):
        typer.echo(f"{kind}: " + ", ".join(f"{split} {counts.get(split, 0):,}" for split in ("train", "val", "test")))
    typer.echo(f"{result.n_guard_drops:,} negatives left out by the guard; split_leakage: {result.n_leaks}")
