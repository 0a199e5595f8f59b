"""`stronglens cutouts`: make the images of a draw, and judge them before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.validation import EXIT_NO_GO

if TYPE_CHECKING:
    from etl.validation.report import ValidationReport

app = typer.Typer(help="Cutouts: the images of a draw, and their validation.", no_args_is_help=True)

N_REASONS = 5


def register(root: typer.Typer) -> None:
    """Add `cutouts` to the command line."""
    root.add_typer(app, name="cutouts")


@app.command()
def make(
    coadds: Annotated[
        str | None, typer.Option(help="Folder, s3://bucket/prefix or https://host/path with coadd/AAA/<brick>/.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="coadd, or service: the survey's cutout service [coadd].")] = None,
    service_url: Annotated[str | None, typer.Option(help="Address of another cutout service.")] = None,
    service_rate: Annotated[float | None, typer.Option(help="Requests a second to the service [2].")] = None,
    draw: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    held_out: Annotated[
        bool | None,
        typer.Option("--held-out", help="Cut the known lenses that the draw holds out, instead of its members."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Bricks cut at once [2].")] = None,
    check_sources: Annotated[
        bool | None, typer.Option("--check-sources", help="Also look at the coadds of all that was cut before.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with the settings above.")] = None,
) -> None:
    """Cut every member of a draw out of the brick coadds, or ask the survey's service for it.

    With --held-out those lenses are cut that ground-based imaging found, and no training positive is or lies near.
    Exits 1 when a brick was missing, broken or changed since cutouts of this version were cut from it; the others are
    made. What is there is never made again.
    """
    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.cutouts.config import CutoutConfig
    from etl.cutouts.make import StoreAddress, make_cutouts

    stage = load_config(
        CutoutConfig,
        config,
        coadds=coadds,
        source=source,
        draw=draw,
        version=version,
        held_out=held_out,
        n_workers=workers,
        check_sources=check_sources,
    ).with_service(url=service_url, requests_per_s=service_rate)
    engine = open_engine()
    with _progress("cutouts") as update:
        address = StoreAddress(settings().store, settings().s3_endpoint_url)
        summary = make_cutouts(engine, stage, address, update)
    engine.dispose()
    for line in summary.lines():
        typer.echo(line)
    for reason in summary.failed[:N_REASONS]:
        typer.echo(f"failed: {reason}", err=True)
    if len(summary.failed) > N_REASONS:
        typer.echo(f"failed: and {len(summary.failed) - N_REASONS} more", err=True)
    if summary.failed:
        typer.echo(f"{summary.n_failed_targets} cutouts were not made", err=True)
        raise typer.Exit(1)


@app.command("register")
def register_cutouts_command(
    place: Annotated[str, typer.Argument(help="Folder or s3://bucket/prefix with npz files, at any depth.")],
    version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with `name` and `sha256` of each file, to hold them against.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="CSV file to list every file that was not taken in.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read, and threads that copy [2].")] = None,
) -> None:
    """Take in DR10 cutouts that exist already; exits 1 when some were not taken in and no --report lists them.

    Each file is read, checked (layout, layer ls-dr10-south, bands, pixel scale, SHA-256, missing pixels) and linked to
    its galaxy by brick and objid, or to the lens there. Files outside the store are copied into it, byte for byte.
    A second run changes nothing.
    """
    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.cutouts.make import StoreAddress
    from etl.cutouts.register.stage import RegisterConfig, register_cutouts, write_report

    stage = load_config(RegisterConfig, None, place=place, version=version, manifest=manifest, n_workers=workers)
    if report is not None:
        write_report(report, [])  # one that cannot be written is a mistake to learn of now
    engine = open_engine()
    with _progress("files") as update:
        address = StoreAddress(settings().store, settings().s3_endpoint_url)
        summary = register_cutouts(engine, stage, address, update)
    engine.dispose()
    taken = ", ".join(f"{n} {status}" for status, n in sorted(summary.n_by_status.items())) or "none"
    typer.echo(f"{summary.n_files} files, {summary.n_present} were registered before; taken in now: {taken}")
    typer.echo(f"copied into the store: {summary.n_copied}")
    for kind, reasons in summary.reasons().items():
        typer.echo(
            f"not taken in, {kind}: {len(reasons)} files, such as {reasons[0].file}: {reasons[0].reason}", err=True
        )
    if report is not None:
        write_report(report, summary.not_taken)
        typer.echo(f"not taken in: {len(summary.not_taken)}, listed in {report}")
    elif summary.not_taken:
        typer.echo(f"{len(summary.not_taken)} files were not taken in: --report FILE.csv lists them", err=True)
        raise typer.Exit(1)


@app.command()
def validate(
    draw: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read cutouts [2].")] = None,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Read every file again and hold it to its SHA-256, measured or not.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="YAML file with all settings of the validation.")] = None,
) -> None:
    """Measure the cutouts of a draw, quarantine unfit ones, audit it for shortcuts, and say GO or NO-GO.

    Only files that were never measured, or are in quarantine, are read. NO-GO exits 3, and `train` obeys it.
    """
    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.cutouts.make import StoreAddress
    from etl.validation.validate import ValidationConfig, validate_cutouts

    stage = load_config(
        ValidationConfig, config, draw=draw, version=version, n_workers=workers, recheck=recheck or None
    )
    engine = open_engine()
    with _progress("files read") as update:
        address = StoreAddress(settings().store, settings().s3_endpoint_url)
        report = validate_cutouts(engine, stage, address, update)
    engine.dispose()
    _print(report)
    if not report.is_go:
        raise typer.Exit(EXIT_NO_GO)


def _print(report: ValidationReport) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console = Console()
    audit = Table(
        title="Shortcut audit",
        caption="AUC folded; * lensing itself changes it: red is no fault",
        box=SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    for heading in ("feature", "kind", "raw", "matched", "adjusted", "judged by", "95 %", "verdict"):
        audit.add_column(heading, no_wrap=True)
    for row in report.features:
        aucs = ("-" if auc is None else f"{auc:.3f}" for auc in (row.auc_raw, row.auc_matched, row.auc_adjusted))
        interval = "-" if row.auc_lo is None else f"{row.auc_lo:.3f}-{row.auc_hi:.3f}"
        verdict = row.verdict + (" *" if row.is_expected_physics else "")
        audit.add_row(row.feature, row.kind, *aucs, row.judged_by, interval, verdict)
    console.print(audit)
    gates = Table(
        "rule", "value", "limit", "passed", "detail", title="Gates", box=SIMPLE, pad_edge=False, collapse_padding=True
    )
    for gate in report.gates:
        gates.add_row(gate.rule, f"{gate.value:.4g}", f"{gate.limit:g}", "yes" if gate.is_passed else "NO", gate.detail)
    console.print(gates)
    if report.quarantined:
        counts = ", ".join(f"{n} {reason}" for reason, n in report.quarantined)
        typer.echo(f"quarantined, and in no manifest: {counts} (results.quarantine lists them)")
    typer.echo(report.verdict)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)
