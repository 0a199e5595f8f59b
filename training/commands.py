"""`stronglens train` and `stronglens score` at the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.progress import Progress


class SplitName(StrEnum):
    """Splits, spelled out here so that the command line needs no database code to start."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


def register(root: typer.Typer) -> None:
    """Add `train` and `score` to the command line."""
    root.command()(train)
    root.command()(score)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Recipe, such as training/configs/demo.yaml.")],
    name: Annotated[str | None, typer.Option(help="Name of the model, instead of the recipe's.")] = None,
    draw: Annotated[str | None, typer.Option(help="Draw to train on, instead of the recipe's.")] = None,
    scheme: Annotated[str | None, typer.Option(help="Split scheme, instead of the recipe's.")] = None,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Train the control: labels that say nothing.")
    ] = False,
) -> None:
    """Train the model of a recipe on the manifest of its draw; a model that is there already is left alone."""
    from db.config import load_config
    from db.engine import open_engine
    from training.config import TrainConfig
    from training.train import train_model

    recipe = load_config(
        TrainConfig, config, name=name, draw=draw, scheme=scheme, shuffle_labels=shuffle_labels or None
    )
    with _progress_bar() as progress:
        result = train_model(open_engine(), recipe, progress)
    if result.was_there:
        typer.echo(f"model {result.name} (number {result.model_id}): already trained, best epoch {result.best_epoch}")
        return
    typer.echo(f"model {result.name} (number {result.model_id}): {result.n_train} cutouts, validated on {result.n_val}")
    typer.echo("epoch  train loss  val loss  val AUC  images/s")
    for row in result.epochs:
        mark = "  best" if row.epoch == result.best_epoch else ""
        typer.echo(
            f"{row.epoch:5d}  {row.train_loss:10.4f}  {row.val_loss:8.4f}  {row.val_auc:7.4f}  "
            f"{row.n_images / row.seconds:8.0f}{mark}"
        )


def score(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name or number of a trained model.")],
    draw: Annotated[
        str | None, typer.Option(help="Score another draw's cutouts, as `draw mine` looks through [the model's].")
    ] = None,
    split: Annotated[SplitName | None, typer.Option(help="Score only this split.")] = None,
) -> None:
    """Score every cutout of a draw that has no score of the model yet."""
    from db.engine import open_engine
    from db.models import Split
    from training.score import score_model

    with _progress_bar() as progress:
        part = Split(split.value) if split is not None else None
        result = score_model(open_engine(), model, draw=draw, split=part, progress=progress)
    typer.echo(
        f"model {result.name} (number {result.model_id}): {result.n_scored} scored, {result.n_already} had scores"
    )


@contextmanager
def _progress_bar() -> Iterator[Progress]:
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
