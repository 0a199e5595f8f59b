"""`stronglens cutouts`: make the images of a draw, and judge them before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl.validation.report import ValidationReport

app = typer.Typer(help="Cutouts: the images of a draw, and their validation.", no_args_is_help=True)

EXIT_NO_GO = 3
N_REASONS = 5


def register(root: typer.Typer) -> None:
    """Add `cutouts` to the command line."""
    root.add_typer(app, name="cutouts")


@app.command()
def make(
    coadds: Annotated[str, typer.Option(help="Folder or s3://bucket/prefix with coadd/AAA/<brick>/.")],
    draw: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    workers: Annotated[int | None, typer.Option(help="Bricks cut at once [2].")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with the settings above.")] = None,
) -> None:
    """Cut every member of a draw out of the brick coadds; exits 1 when a brick was missing or broken."""
    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.cutouts.make import CutoutConfig, StoreAddress, make_cutouts

    stage = load_config(CutoutConfig, config, coadds=coadds, draw=draw, version=version, n_workers=workers)
    engine = open_engine()
    with _progress("cutouts") as update:
        address = StoreAddress(settings().store, settings().s3_endpoint_url)
        summary = make_cutouts(engine, stage, address, update)
    engine.dispose()
    counts = ", ".join(f"{n} {status}" for status, n in summary.n_by_status.items())
    typer.echo(f"{summary.n_targets} members, {summary.n_present} had their cutout; made now: {counts}")
    if summary.n_without_brick:
        typer.echo(f"{summary.n_without_brick} members lie in no brick that is loaded")
    for reason in summary.failed[:N_REASONS]:
        typer.echo(f"failed: {reason}", err=True)
    if len(summary.failed) > N_REASONS:
        typer.echo(f"failed: and {len(summary.failed) - N_REASONS} more bricks", err=True)
    if summary.failed:
        typer.echo(f"{summary.n_failed_targets} cutouts were not made: {len(summary.failed)} bricks failed", err=True)
        raise typer.Exit(1)


@app.command()
def validate(
    draw: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read cutouts [2].")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with all settings of the validation.")] = None,
) -> None:
    """Measure the cutouts of a draw, audit it for shortcuts, and say GO or NO-GO; NO-GO exits 3."""
    from db.config import load_config
    from db.engine import open_engine
    from db.settings import settings
    from etl.cutouts.make import StoreAddress
    from etl.validation.validate import ValidationConfig, validate_cutouts

    stage = load_config(ValidationConfig, config, draw=draw, version=version, n_workers=workers)
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
    for heading in ("feature", "kind", "raw", "matched", "95 %", "verdict"):
        audit.add_column(heading, no_wrap=True)
    for row in report.features:
        matched = "-" if row.auc_matched is None else f"{row.auc_matched:.3f}"
        interval = "-" if row.auc_lo is None else f"{row.auc_lo:.3f}-{row.auc_hi:.3f}"
        verdict = row.verdict + (" *" if row.is_expected_physics else "")
        audit.add_row(row.feature, row.kind, f"{row.auc_raw:.3f}", matched, interval, verdict)
    console.print(audit)
    gates = Table(
        "rule", "value", "limit", "passed", "detail", title="Gates", box=SIMPLE, pad_edge=False, collapse_padding=True
    )
    for gate in report.gates:
        gates.add_row(gate.rule, f"{gate.value:.4g}", f"{gate.limit:g}", "yes" if gate.is_passed else "NO", gate.detail)
    console.print(gates)
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
