"""`stronglens train` and `score` at the command line; `store pack` and `manifest` are in the rooms of their stages."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.storage.commands import app as store
from training.bars import progress_bar
from training.ensemble.commands import app as ensemble
from training.packs.commands import pack
from training.run.commands import app as training
from training.snapshot.commands import app as manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.config import TrainConfig
    from training.fit import EpochResult


class SourceName(StrEnum):
    """Where pixels are read from, spelled out here so that the command line needs no numerical code to start."""

    AUTO = "auto"
    NPZ = "npz"
    PACK = "pack"


class SplitName(StrEnum):
    """Splits, spelled out here so that the command line needs no database code to start."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


Source = Annotated[SourceName, typer.Option(help="Read pixels from npz files, or a pack; auto: a pack that fits.")]


def register(root: typer.Typer) -> None:
    """Add `store pack`, `manifest`, `train`, `training` and `score` to the command line."""
    store.command()(pack)
    root.add_typer(manifest, name="manifest")
    root.add_typer(ensemble, name="ensemble")
    root.command()(train)
    root.add_typer(training, name="training")
    root.command()(score)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Recipe, such as training/configs/demo.yaml.")],
    name: Annotated[str | None, typer.Option(help="Name of the model, instead of the recipe's.")] = None,
    draw: Annotated[str | None, typer.Option(help="Draw to train on, instead of the recipe's.")] = None,
    scheme: Annotated[str | None, typer.Option(help="Split scheme, instead of the recipe's.")] = None,
    shuffle_labels: Annotated[
        bool, typer.Option("--shuffle-labels", help="Train the control: labels that say nothing.")
    ] = False,
    accept_gate: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Train although the draw's validation is not GO; the reason is kept."),
    ] = None,
    source: Source = SourceName.AUTO,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            "--manifest", "--snapshot", metavar="SNAPSHOT", help="Train on this snapshot, without a database."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With --manifest: folder of the run [runs/NAME below STRONGLENS_HOME]."),
    ] = None,
) -> None:
    """Train a recipe on the manifest of its draw; interrupted, it goes on, and a model that is there is left alone."""
    from db.config import load_config
    from training.config import TrainConfig

    if snapshot is None and out is not None:
        raise typer.BadParameter("--out FOLDER goes with --manifest SNAPSHOT")
    recipe = load_config(
        TrainConfig,
        config,
        name=name,
        draw=draw,
        scheme=scheme,
        shuffle_labels=shuffle_labels or None,
        accept_gate=accept_gate,
    )
    if snapshot is not None:
        _train_alone(snapshot, recipe, out)
        return

    from db.engine import open_engine
    from training.train import train_model

    with progress_bar() as progress:
        result = train_model(open_engine(), recipe, progress, source=source.value)
    if result.was_there:
        typer.echo(f"model {result.name} (number {result.model_id}): already trained, best epoch {result.best_epoch}")
        return
    typer.echo(f"model {result.name} (number {result.model_id}): {result.n_train} cutouts, validated on {result.n_val}")
    _print_epochs(result.epochs, result.best_epoch, result.resumed_after)


def _train_alone(snapshot: Path, recipe: TrainConfig, out: Path | None) -> None:
    from training.run.layout import run_folder
    from training.snapshot.train import train_on_snapshot

    folder = out or run_folder(recipe.name)
    with progress_bar() as progress:
        run, was_there = train_on_snapshot(snapshot, recipe, folder, progress)
    about = run.description
    if was_there:
        typer.echo(f"model {recipe.name} in {folder}: already trained, best epoch {about.best_epoch}")
    else:
        typer.echo(f"model {recipe.name} in {folder}: {about.n_train} cutouts, validated on {about.n_val}")
        _print_epochs(run.epochs, run.checkpoint.epoch, about.resumed_after[-1] if about.resumed_after else None)
    typer.echo(f"where its database is: stronglens training import {folder}")


def _print_epochs(epochs: Sequence[EpochResult], best_epoch: int, resumed_after: int | None) -> None:
    if resumed_after is not None:
        typer.echo(f"went on after epoch {resumed_after} of an interrupted training")
    typer.echo("epoch  train loss  val loss  val AUC  images/s")
    for row in epochs:
        mark = "  best" if row.epoch == best_epoch else ""
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
    pool: Annotated[
        bool, typer.Option("--pool", help="Score all cutouts beside the model's draw: galaxies and held-out lenses.")
    ] = False,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Score the known lenses that the model's draw holds out.")
    ] = False,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="Also keep what goes into the network's last layer.")
    ] = False,
    source: Source = SourceName.AUTO,
) -> None:
    """Score every cutout of a draw, or beside the model's, that has no score of the model yet."""
    from db.engine import open_engine
    from db.models import Split
    from training.score import score_model

    if pool and held_out:
        raise typer.BadParameter("--pool scores the held-out lenses too: give one of --pool and --held-out")
    with progress_bar() as progress:
        result = score_model(
            open_engine(),
            model,
            draw=draw,
            split=Split(split.value) if split is not None else None,
            cutouts="pool" if pool else "held_out" if held_out else "draw",
            with_embeddings=embeddings,
            source=source.value,
            progress=progress,
        )
    typer.echo(
        f"model {result.name} (number {result.model_id}): {result.n_scored} scored, {result.n_already} had scores"
    )
