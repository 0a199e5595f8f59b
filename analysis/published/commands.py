"""`stronglens published` at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Published results, held to what was printed.", no_args_is_help=True)


@app.callback()
def _published() -> None:
    """Published results."""


@app.command()
def check(
    data: Annotated[
        Path, typer.Option(metavar="DIR", envvar="STRONGLENS_TEST_DATA", help="Folder of the real data.")
    ] = Path("../shared/data"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Run published scores and counts through our own functions and views: expected, found, ok."""
    import json
    from dataclasses import asdict

    from analysis.published.check import check_published, show
    from analysis.report import wide_console
    from db.engine import open_engine

    checks = check_published(open_engine(), data)
    if as_json:
        typer.echo(json.dumps([asdict(one) | {"is_ok": one.is_ok} for one in checks], indent=2))
    else:
        show(checks, wide_console())
    if not all(one.is_ok for one in checks):
        raise typer.Exit(1)
