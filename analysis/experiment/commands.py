"""`stronglens experiment run` and `stronglens crossval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

experiment = typer.Typer(help="Comparisons of recipes over seeds, written up.", no_args_is_help=True)


@experiment.callback()
def _group() -> None:
    """Compare recipes over seeds."""


@experiment.command("run")
def run(
    config: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT.yaml", help="Such as training/configs/experiments/mock.yaml.")
    ],
    out: Annotated[Path | None, typer.Option(help="File for the write-up, such as docs/experiments.md.")] = None,
) -> None:
    """Train, score and evaluate every arm and seed, and write up what the views say. Repeatable."""
    from analysis.experiment.config import ExperimentConfig
    from analysis.experiment.read import read_findings
    from analysis.experiment.run import run_experiment
    from analysis.experiment.write import save, write_up
    from db.config import load_config
    from db.engine import open_engine
    from training.bars import progress_bar

    engine = open_engine()
    asked = load_config(ExperimentConfig, config)
    with progress_bar() as progress:
        run_experiment(engine, asked, progress)
    command = f"stronglens experiment run {config}" + (f" --out {out}" if out is not None else "")
    page = write_up(asked, read_findings(engine, asked), command)
    if out is None:
        typer.echo(page, nl=False)
    else:
        typer.echo(f"{out}: {'written' if save(page, out) else 'as it was'}")


def crossval(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="Recipe, such as training/configs/demo.yaml.")],
    folds: Annotated[int, typer.Option(help="Folds of the sky, by coarse cells (nside 8).")] = 5,
    name: Annotated[str | None, typer.Option(help="Name of the folds [cv and their number].")] = None,
    guard_arcsec: Annotated[
        float | None, typer.Option("--guard", metavar="ARCSEC", help="Distance kept from the fold held out [300].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of the views as JSON.")] = False,
) -> None:
    """Train a recipe once for each fold of the sky, test it there, and print the spread. Repeatable.

    The locked test sky of the recipe's scheme takes no part.
    """
    import json

    from analysis.folds import CrossvalConfig, cross_validate, read_crossval
    from analysis.folds_report import show
    from analysis.report import wide_console
    from db.config import load_config
    from db.engine import open_engine
    from etl.folds import FoldConfig
    from training.bars import progress_bar
    from training.config import TrainConfig

    rules = load_config(FoldConfig, None, name=name, n_folds=folds, guard_arcsec=guard_arcsec)
    config = CrossvalConfig(recipe=load_config(TrainConfig, recipe), folds=rules)
    engine = open_engine()
    with progress_bar() as progress:
        cross_validate(engine, config, progress)
    rows = read_crossval(engine, config.name)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        show(config.name, rows, wide_console())
