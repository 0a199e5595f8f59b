"""`stronglens crossmatch`: a list of positions against everything that is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `crossmatch` to the command line."""
    app.command("crossmatch")(crossmatch)


def crossmatch(
    file: Annotated[Path, typer.Argument(help="CSV, FITS or VOTable file with positions in degrees.")],
    ra: Annotated[str | None, typer.Option("--ra", help="Column of right ascension [one of the usual names].")] = None,
    dec: Annotated[str | None, typer.Option("--dec", help="Column of declination [one of the usual names].")] = None,
    radius_arcsec: Annotated[float, typer.Option(help="A galaxy within this distance is a match.")] = 5.0,
    survey: Annotated[str | None, typer.Option(help="dr10 or mock [the one that is loaded].")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model whose scores to show; repeatable [all that are finished].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV, FITS or VOTable file to write [CSV on the terminal].")
    ] = None,
) -> None:
    """Find each position's nearest pool galaxy, the known lens within 11 arcsec, and the models' scores.

    Every row of FILE gives one row, in its order: row, input_ra, input_dec, ls_id, ra, dec, separation_arcsec, then
    survey, type, magnitudes, the known lens, and score_MODEL. Columns stay empty where nothing was found.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from db.engine import open_engine
    from etl.crossmatch.positions import read_positions
    from etl.crossmatch.search import CrossmatchRequest
    from etl.crossmatch.search import crossmatch as search
    from etl.crossmatch.write import check_output, write_answers

    check_output(out)
    positions = read_positions(file, ra, dec)
    request = CrossmatchRequest(radius_arcsec, survey, tuple(model or ()))
    engine = open_engine()
    console = Console(stderr=True)
    columns = ("positions", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("positions", total=None)
        answers = search(engine, positions, request, lambda done, total: bar.update(task, completed=done, total=total))
    write_answers(answers, out)
    n_galaxies, n_lenses = (len(answers) - answers.column(name).null_count for name in ("ls_id", "lens_name"))
    typer.echo(
        f"{n_galaxies:,} of {len(answers):,} positions have a galaxy within {radius_arcsec:g} arcsec, "
        f"{n_lenses:,} a known lens within 11 arcsec",
        err=True,
    )
