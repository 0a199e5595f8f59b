"""`stronglens sweeps`: load sweep files, and see what was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Sweep files: the survey's catalogs, and the pool made of them.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Add `sweeps` to the command line."""
    root.add_typer(app, name="sweeps")


@app.command()
def load(
    places: Annotated[
        list[str], typer.Argument(metavar="PATH", help="Files, folders or globs; local or s3://bucket/prefix.")
    ],
    config: Annotated[Path | None, typer.Option(help="YAML file with the settings below.")] = None,
    mag_z_max: Annotated[float | None, typer.Option(help="Faintest z magnitude kept, AB, not dereddened [21].")] = None,
    quarantine_rows: Annotated[
        int | None, typer.Option(help="Bad rows that a file may have; they are dropped and counted [0].")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Files loaded at once [2].")] = None,
    verify: Annotated[bool, typer.Option(help="Hash files that seem loaded, whatever name and size say.")] = False,
) -> None:
    """Load sweep FITS files (.fits, .fits.gz) into the pool; exits 1 when a file was refused."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.sweeps.config import SweepLoadConfig
    from etl.sweeps.load import LoadOptions, load_sweeps
    from etl.sweeps.source import find_sources

    stage = load_config(
        SweepLoadConfig, config, mag_z_max=mag_z_max, max_quarantine_rows=quarantine_rows, n_workers=workers
    )
    sources = find_sources(places, settings().s3_endpoint_url)
    engine = open_engine()
    columns = (TextColumn("sweep files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("load", total=len(sources))
        options = LoadOptions(
            verify=verify, on_progress=lambda done, total: bar.update(shown, completed=done, total=total)
        )
        result = load_sweeps(engine, sources, stage, options)
    engine.dispose()
    counts = {status: len(result.with_status(status)) for status in ("loaded", "skipped", "refused")}
    typer.echo(", ".join(f"{n} {status}" for status, n in counts.items()) + f" of {len(sources)} sweep files")
    typer.echo(f"{result.n_read} rows read, {result.n_kept} kept, {result.n_quarantined} quarantined")
    for outcome in result.with_status("refused"):
        typer.echo(f"refused: {outcome.name}: {outcome.reason}", err=True)
    if counts["refused"]:
        raise typer.Exit(1)


@app.command()
def status() -> None:
    """Print the ledger: each file, its rows, and why it was refused."""
    from db.engine import open_engine
    from etl.sweeps.ledger import ledger_rows

    engine = open_engine()
    rows = ledger_rows(engine)
    engine.dispose()
    if not rows:
        typer.echo("no sweep file was loaded yet: run `stronglens sweeps load PATH...`")
        return
    numbers = ("     read", "     kept", "not selected", "quarantined")
    width = max(len(row.name) for row in rows)
    typer.echo("  ".join(["survey", f"{'file':{width}}", "status ", *numbers, "reason"]))
    for row in rows:
        values = (row.n_read, row.n_kept, row.n_not_selected, row.n_quarantined)
        counts = [f"{value:>{len(number)}}" for number, value in zip(numbers, values, strict=True)]
        line = [f"{row.survey:6}", f"{row.name:{width}}", f"{row.status:7}", *counts, row.error or ""]
        typer.echo("  ".join(line).rstrip())
