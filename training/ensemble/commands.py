"""`stronglens ensemble` at the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(help="Models whose scores are made of those of other models.", no_args_is_help=True)


class MethodName(StrEnum):
    """Methods, spelled out here so that the command line needs no numerical code to start."""

    AVERAGE = "average"
    STACKING = "stacking"
    BAYES = "bayes"


@app.callback()
def _group() -> None:
    """A group, though it has one command."""


@app.command()
def make(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the ensemble.")],
    members: Annotated[str, typer.Option(metavar="A,B,...", help="Names or numbers of scored models.")],
    method: Annotated[
        MethodName, typer.Option(help="Mean score; logistic regression on log-odds; calibrated and independent.")
    ] = MethodName.AVERAGE,
) -> None:
    """Combine the scores of models into those of a new one, fitted on the calibration part of val."""
    from db.config import load_config
    from db.engine import open_engine
    from training.ensemble.make import EnsembleConfig, make_ensemble

    named = tuple(word.strip() for word in members.split(",") if word.strip())
    config = load_config(EnsembleConfig, None, name=name, members=named, method=method.value)
    done = make_ensemble(open_engine(), config)
    made_of = ", ".join(
        f"{member} {coefficient:.4f}" for member, coefficient in zip(done.members, done.coefficients, strict=True)
    )
    fitted = f", fitted on {done.n_fitted_on:,} cutouts" if done.n_fitted_on else ""
    typer.echo(f"ensemble {done.name} (number {done.model_id}), {done.method} of {made_of}{fitted}")
    typer.echo(f"{done.n_scored:,} scored{', the rest had scores' if done.was_there else ''}")
