"""`stronglens sweeps`: load sweep files, see what was loaded, build the pool's indexes, take a file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl.sweeps.outcome import LoadOutcome
    from etl.sweeps.status import LoadStatus

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
    workers: Annotated[int | None, typer.Option(help="Files read at once [2].")] = None,
    max_writers: Annotated[
        int | None, typer.Option(help="Connections that write to the database at once, at most [16].")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Hash files that seem loaded, whatever name and size say.")] = False,
    bulk: Annotated[
        bool | None,
        typer.Option(help="Fill an empty pool without indexes and build them afterwards [above 1 GiB of files]."),
    ] = None,
    index: Annotated[
        bool, typer.Option(help="After a bulk load, build the indexes; without, `sweeps index` does.")
    ] = True,
) -> None:
    """Load sweep FITS files (.fits, .fits.gz) into the pool; run again to go on. Exits 1 unless all files are in."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.sweeps.config import SweepLoadConfig
    from etl.sweeps.load import LoadOptions, load_sweeps
    from etl.sweeps.source import find_sources

    stage = load_config(
        SweepLoadConfig,
        config,
        mag_z_max=mag_z_max,
        max_quarantine_rows=quarantine_rows,
        n_workers=workers,
        max_writers=max_writers,
    )
    sources = find_sources(places, settings().s3_endpoint_url)
    engine = open_engine()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("sweep files", total=len(sources))
        options = LoadOptions(
            verify=verify,
            bulk=bulk,
            index=index,
            on_progress=lambda done, total: bar.update(shown, completed=done, total=total),
            on_index=lambda name: bar.update(shown, description=f"built {name}"),
        )
        result = load_sweeps(engine, sources, stage, options)
    engine.dispose()
    _print_outcome(result, len(sources))
    if result.with_status("refused", "failed"):
        raise typer.Exit(1)


def _print_outcome(result: LoadOutcome, n_files: int) -> None:
    counts = {status: len(result.with_status(status)) for status in ("loaded", "skipped", "refused", "failed")}
    shown = {status: n for status, n in counts.items() if n or status != "failed"}
    typer.echo(", ".join(f"{n} {status}" for status, n in shown.items()) + f" of {n_files} sweep files")
    typer.echo(f"{result.n_read} rows read, {result.n_kept} kept, {result.n_quarantined} quarantined")
    if result.is_bulk:
        typer.echo("the pool has no indexes yet: run `stronglens sweeps index` once all files are in")
    for outcome in result.with_status("refused", "failed"):
        typer.echo(f"{outcome.status}: {outcome.name}: {outcome.reason}", err=True)


@app.command()
def index(
    at_once: Annotated[int, typer.Option(min=1, max=8, help="Indexes built at the same time.")] = 2,
) -> None:
    """Build the key and the indexes that a bulk load left out; names the sources that two files share."""
    from rich.console import Console

    from db.bulk import build_indexes
    from db.engine import open_engine

    engine = open_engine()
    with Console(stderr=True).status("building the pool's indexes") as shown:
        is_built = build_indexes(engine, n_at_once=at_once, on_built=lambda name: shown.update(f"built {name}"))
    engine.dispose()
    typer.echo("the pool's key and indexes are built" if is_built else "the pool has its key and indexes")


@app.command()
def unload(name: Annotated[str, typer.Argument(help="File name, as `sweeps status --files` shows it.")]) -> None:
    """Take a file's galaxies out of the pool; refused while a draw or a cutout uses one of them."""
    from db.engine import open_engine
    from etl.sweeps.replace import unload_file

    engine = open_engine()
    n_galaxies = unload_file(engine, name)
    engine.dispose()
    typer.echo(f"{name}: {n_galaxies:,} galaxies taken out")


@app.command()
def status(
    files: Annotated[bool, typer.Option("--files", help="List every file, not only those that are not in.")] = False,
) -> None:
    """Print how far the last load has come, at which rate, what is left, and why files were refused."""
    from db.engine import open_engine
    from etl.sweeps.status import awaits_indexes, last_load, ledger_rows

    engine = open_engine()
    rows, load_status, is_bulk = ledger_rows(engine), last_load(engine), awaits_indexes(engine)
    engine.dispose()
    if not rows and load_status is None:
        typer.echo("no sweep file was loaded yet: run `stronglens sweeps load PATH...`")
        return
    if load_status is not None:
        _print_load(load_status)
    loaded = [row for row in rows if row.status == "loaded"]
    n_kept, n_read = sum(row.n_kept for row in loaded), sum(row.n_read for row in loaded)
    typer.echo(f"pool: {len(loaded):,} files loaded, {n_read:,} rows read, {n_kept:,} kept")
    if is_bulk:
        typer.echo("pool: it has no indexes yet: run `stronglens sweeps index` once all files are in")
    said = {name for name, _, _ in load_status.problems} if load_status is not None else set()
    shown = rows if files else [row for row in rows if row.status != "loaded" and row.name not in said]
    if not shown:
        return
    numbers = ("     read", "     kept", "not selected", "quarantined")
    width = max(len(row.name) for row in shown)
    typer.echo("  ".join(["survey", f"{'file':{width}}", "status ", *numbers, "reason"]))
    for row in shown:
        values = (row.n_read, row.n_kept, row.n_not_selected, row.n_quarantined)
        counts = [f"{value:>{len(number)}}" for number, value in zip(numbers, values, strict=True)]
        line = [f"{row.survey:6}", f"{row.name:{width}}", f"{row.status:7}", *counts, row.error or ""]
        typer.echo("  ".join(line).rstrip())


def _print_load(load: LoadStatus) -> None:
    n_files = sum(load.n_files.values())
    n_done = n_files - sum(load.n_files.get(status, 0) for status in ("waiting", "running", "interrupted"))
    words = ("loaded", "skipped", "refused", "failed", "running", "interrupted", "waiting")
    counts = ", ".join(f"{load.n_files[word]:,} {word}" for word in words if word in load.n_files)
    state = "running" if load.is_running else "ended" if n_done == n_files else "stopped: load again to go on"
    typer.echo(f"last load (run {load.run_id}, {state}): {n_done:,} of {n_files:,} files done ({counts})")
    rate = f"{load.bytes_per_s / 1e6:,.1f} MB/s, {load.n_rows / max(load.elapsed_s, 1e-3):,.0f} rows/s"
    left = f"{load.n_bytes_left / 1e9:,.2f} GB left"
    to_go = f", {load.left_s / 60:,.0f} min to go" if load.is_running and load.left_s is not None else ""
    typer.echo(f"  {rate} over {load.elapsed_s:,.0f} s; {left}{to_go}")
    for name, worker in load.running:
        typer.echo(f"  running: {name} ({worker})")
    for name, end, reason in load.problems:
        typer.echo(f"  {end}: {name}: {reason}")
