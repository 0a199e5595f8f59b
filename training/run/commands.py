"""`stronglens training` at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Trainings that ran elsewhere, or while the database was away.", no_args_is_help=True)


@app.callback()
def _training() -> None:
    """Take trainings in."""


@app.command("import")
def import_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `train` wrote.")],
    accept_gate: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Take it in although the draw's validation is not GO; the reason is kept."),
    ] = None,
) -> None:
    """Bring a run's model, epochs and scores into the database; one that is there already is left alone."""
    from db.engine import open_engine
    from training.run.bring import import_run

    done = import_run(open_engine(), run, accept_gate)
    what = f"model {done.name} (number {done.model_id})"
    if done.was_there:
        typer.echo(f"{what}: was there, {done.n_scores} scores added")
        return
    typer.echo(f"{what}: {done.n_epochs} epochs, best epoch {done.best_epoch}, {done.n_scores} scores")
    if not done.n_scores:
        typer.echo(f"the run came without scores: run `stronglens score {done.name}`")
