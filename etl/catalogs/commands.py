"""Commands of stage 1: `stronglens catalog ...`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from etl.catalogs.load import LoadSummary


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    catalog = typer.Typer(help="Published lenses and candidates.", no_args_is_help=True)
    catalog.callback()(_catalog)
    catalog.command("load")(_load)
    app.add_typer(catalog, name="catalog")


def _catalog() -> None:
    """Published lenses and candidates."""


def _load(
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV or TSV file of one paper; without it, all of lenscat.")
    ] = None,
    paper: Annotated[
        str | None, typer.Option("--paper", help="The paper that published the table, such as arXiv:2508.20087.")
    ] = None,
) -> None:
    """Load lenscat, or one paper's table, into the ledger of known lenses. Repeating it changes nothing."""
    if (table is None) != (paper is None):
        raise typer.BadParameter("--table and --paper go together")
    from rich.console import Console

    from db.engine import open_engine
    from etl.catalogs.load import load_lenscat, load_table

    engine = open_engine()
    with Console(stderr=True).status("loading the catalog"):
        summary = load_table(engine, table, paper) if table and paper is not None else load_lenscat(engine)
    _show(summary)


def _show(summary: LoadSummary) -> None:
    from rich.console import Console
    from rich.table import Table

    if summary.n_new_rows:
        typer.echo(
            f"{summary.catalog}: {summary.n_new_rows:,} of {summary.n_rows:,} rows loaded: "
            f"{summary.n_new:,} new lenses, {summary.n_matched:,} matched, "
            f"{summary.n_ambiguous:,} ambiguous (nearest taken)"
        )
    else:
        typer.echo(f"{summary.catalog}: already loaded: {summary.n_rows:,} rows")
    grid = Table("in the ledger", "n")
    grid.columns[1].justify = "right"
    for label, number in (
        ("rows", summary.n_ledger_rows),
        ("objects", summary.n_objects),
        ("  positives", summary.n_tier_a + summary.n_tier_b),
        ("    tier A (confident)", summary.n_tier_a),
        ("    tier B (probable)", summary.n_tier_b),
        ("  without a lens claim", summary.n_no_claim),
        ("redshifts", summary.n_redshifts),
        ("grades", summary.n_grades),
    ):
        grid.add_row(label, f"{number:,}")
    Console().print(grid)
