"""`stronglens store`: make the store, copy it, and hold it against the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl.storage.findings import Finding
    from etl.storage.sync import SyncPlan

app = typer.Typer(help="The object store that holds cutouts and checkpoints.", no_args_is_help=True)

N_NAMED = 5

Draw = Annotated[str | None, typer.Option(help="Only the cutouts and models of this draw.")]
Version = Annotated[str | None, typer.Option(help="Only those of this version of the cutout set.")]
Prefix = Annotated[str | None, typer.Option(help="Only keys that begin with it, such as checkpoints/.")]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Objects read at once.")]


def register(root: typer.Typer) -> None:
    """Add `store` to the command line."""
    root.add_typer(app, name="store")


@app.callback()
def _store() -> None:
    """Keep files under one root, STRONGLENS_STORE."""


@app.command()
def create() -> None:
    """Make the folder or bucket of STRONGLENS_STORE unless it is there."""
    from db.settings import settings
    from etl.storage import open_store

    typer.echo(open_store(settings().store, settings().s3_endpoint_url).create())


@app.command()
def sync(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder, s3://bucket/prefix or https://host/path.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="A folder or s3://bucket/prefix.")],
    draw: Draw = None,
    cutout_version: Version = None,
    prefix: Prefix = None,
    workers: Workers = 8,
    checksum: Annotated[bool, typer.Option("--checksum", help="Read again what DST has in the right size.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove from the folders copied to in DST what is not of the selection.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
) -> None:
    """Copy what the database records, each byte verified; run again to go on. Exits 1 when anything is at fault."""
    import time

    from db.engine import open_engine
    from db.settings import settings
    from etl.storage.listing import Selection, load_listing
    from etl.storage.places import open_store
    from etl.storage.progress import progress, waiting
    from etl.storage.sync import SyncOptions, plan_sync
    from etl.storage.sync import sync as copy

    endpoint = settings().s3_endpoint_url
    stores = open_store(source, endpoint), open_store(target, endpoint)
    options = SyncOptions(n_workers=workers, checksum=checksum, delete=delete)
    engine = open_engine()
    with waiting("comparing the database with DST"):
        with engine.connect() as connection:
            listing = load_listing(connection, stores[0], Selection(draw, cutout_version, prefix))
        plan = plan_sync(listing, *stores, options)
    engine.dispose()
    if dry_run:
        typer.echo(f"would copy {len(plan.to_copy):,} and check {len(plan.to_check):,} files, {_size(plan.n_bytes)}")
        typer.echo(f"would delete {len(plan.to_delete):,} files of DST")
        _say_rest(plan)
        return
    began = time.monotonic()
    with progress("sync") as watch:
        result = copy(listing, plan, stores, options, watch)
    seconds = time.monotonic() - began
    rate = _size(result.n_bytes / max(seconds, 1e-3))
    typer.echo(f"{result.n_copied:,} files copied, {_size(result.n_bytes)} in {seconds:,.1f} s ({rate}/s)")
    if checksum:
        typer.echo(f"{result.n_checked:,} files were there with the right SHA-256")
    if delete:
        typer.echo(f"{result.n_deleted:,} files of DST deleted")
    _say_rest(plan)
    _say_faults(result.findings)
    if result.findings:
        if plan.to_delete:
            typer.echo("nothing was deleted, since not all could be copied", err=True)
        raise typer.Exit(1)


@app.command()
def verify(
    place: Annotated[str | None, typer.Argument(help="A folder or s3://bucket/prefix [STRONGLENS_STORE].")] = None,
    draw: Draw = None,
    cutout_version: Version = None,
    prefix: Prefix = None,
    fast: Annotated[bool, typer.Option("--fast", help="Names and sizes only: nothing is read.")] = False,
    workers: Workers = 8,
    report: Annotated[Path | None, typer.Option(help="CSV file for all that is at fault or unknown.")] = None,
) -> None:
    """Find missing, truncated, altered and unknown files; changes nothing. Exits 1 when a recorded one is at fault."""
    from db.engine import open_engine
    from db.settings import settings
    from etl.storage.findings import as_csv
    from etl.storage.listing import Selection
    from etl.storage.local import LocalStore
    from etl.storage.places import open_store
    from etl.storage.progress import progress
    from etl.storage.verify import VerifyOptions, load_scope
    from etl.storage.verify import verify as check

    store = open_store(place or settings().store, settings().s3_endpoint_url)
    folder = None if report is None else LocalStore(report.absolute().parent)
    if folder is not None:
        folder.create()  # now, not after an hour of reading
    engine = open_engine()
    with engine.connect() as connection:
        scope = load_scope(connection, store, Selection(draw, cutout_version, prefix))
    engine.dispose()
    with progress("verify") as watch:
        result = check(scope, store, VerifyOptions(n_workers=workers, fast=fast), watch)
    if folder is not None and report is not None:
        folder.put_bytes(report.name, as_csv([*result.faults, *result.unknown]))
    how = "compared by name and size" if fast else f"read, {_size(result.n_bytes)}"
    typer.echo(f"{store.address}: {result.n_objects:,} recorded files {how}")
    _say_faults(result.unknown, err=False)
    _say_faults(result.faults)
    if result.faults:
        raise typer.Exit(1)
    typer.echo("every recorded file is there and " + ("of the right size" if fast else "whole"))


def _say_rest(plan: SyncPlan) -> None:
    if plan.n_present:
        typer.echo(f"{plan.n_present:,} files were there in the right size")
    if plan.n_others:
        typer.echo(f"{plan.n_others:,} other files in the same folders of SRC left: not selected, or in no row")


def _say_faults(findings: Sequence[Finding], *, err: bool = True) -> None:
    from etl.storage.findings import counts

    for kind, n in counts(findings).items():
        typer.echo(f"{kind}: {n:,}", err=err)
        for finding in [finding for finding in findings if finding.kind == kind][:N_NAMED]:
            typer.echo(f"  {finding.reason}", err=err)
        if n > N_NAMED:
            typer.echo(f"  and {n - N_NAMED:,} more", err=err)


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.1f} MB"
