"""`stronglens pool import` and `stronglens draw import`: bring in what a group already has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.draw.commands import draw_app

if TYPE_CHECKING:
    from etl.imports.findings import Differences
    from etl.imports.pool import PoolImport

pool_app = typer.Typer(help="The pool of galaxies that negatives are drawn from.", no_args_is_help=True)

Accept = Annotated[
    bool, typer.Option("--accept-differences", help="Take a file that differs from what we derive; ours is stored.")
]
Release = Annotated[
    int | None, typer.Option(help="Release number of its galaxies, where it has no such column [10000].")
]


def register(root: typer.Typer) -> None:
    """Add `pool`, and `draw import`, to the command line."""
    root.add_typer(pool_app, name="pool")
    draw_app.command("import")(import_draw_command)


@pool_app.callback()
def _pool() -> None:
    """Bring in galaxies that did not come from sweep files."""


@pool_app.command("import")
def import_pool_command(
    places: Annotated[list[Path], typer.Argument(metavar="PARQUET", help="Parquet files, or folders of them.")],
    release: Release = None,
    accept_differences: Accept = False,
) -> None:
    """Bring in the galaxies of an earlier pool's manifest; exits 1 when a file was refused. Repeatable."""
    from db.config import load_config
    from db.engine import open_engine
    from etl.errors import EtlError
    from etl.imports.manifest import find_manifests
    from etl.imports.pool import PoolImportConfig, import_pool

    config = load_config(PoolImportConfig, None, release=release, accept_differences=accept_differences)
    paths = find_manifests(places)
    engine = open_engine()
    n_refused = 0
    for path in paths:
        try:
            with _progress(path.name) as on_progress:
                result = import_pool(engine, path, config, on_progress)
        except EtlError as exc:
            typer.echo(f"refused: {exc}", err=True)
            n_refused += 1
        else:
            _print_pool(result)
    engine.dispose()
    if n_refused:
        raise typer.Exit(1)


def import_draw_command(
    places: Annotated[
        list[Path], typer.Argument(metavar="PARQUET", help="Parquet files of one draw, or a folder of them.")
    ],
    name: Annotated[str, typer.Option(help="Name of the draw.")],
    scheme: Annotated[str | None, typer.Option(help="Split scheme to compare its splits with [default].")] = None,
    release: Release = None,
    accept_differences: Accept = False,
) -> None:
    """Bring in the negatives of an earlier draw, with the positives that the catalog has for it. Repeatable."""
    from db.config import load_config
    from db.engine import open_engine
    from etl.imports.draw import DrawImportConfig, import_draw
    from etl.imports.manifest import find_manifests

    options = {"name": name, "scheme": scheme, "release": release, "accept_differences": accept_differences}
    config = load_config(DrawImportConfig, None, **options)
    engine = open_engine()
    with _progress(name) as on_progress:
        result = import_draw(engine, find_manifests(places), config, on_progress)
    engine.dispose()
    if not result.is_new:
        typer.echo(f"draw {name}: imported before, nothing to do")
        return
    pools = ", ".join(f"{n:,} {pool}" for pool, n in sorted(result.n_by_pool.items()))
    typer.echo(f"draw {name}: {pools}; {result.n_left_out:,} negatives left out, a known lens is near")
    if not result.is_probability_known:
        typer.echo("  no inclusion probability (NULL): it cannot be reweighted to the survey")
    if result.ignored:
        typer.echo(f"  columns not used: {', '.join(result.ignored)}")
    _print_differences(result.differences)
    typer.echo("next: `stronglens splits assign`, `stronglens cutouts make`")


def _print_pool(result: PoolImport) -> None:
    if result.status == "skipped":
        typer.echo(f"{result.name}: imported before, nothing to do")
        return
    typer.echo(
        f"{result.name}: {result.n_rows:,} galaxies, {result.n_new:,} new, "
        f"{result.n_rows - result.n_new:,} in the catalog before"
    )
    if result.absent:
        typer.echo(f"  without (NULL; a draw takes none without maskbits and nobs): {', '.join(result.absent)}")
    if result.ignored:
        typer.echo(f"  columns not used: {', '.join(result.ignored)}")
    _print_differences(result.differences)


def _print_differences(differences: Differences) -> None:
    """Print, by column, how many values were compared and how many differ, with the first that do."""
    if not differences.columns:
        return
    width = max(len(name) for name in differences.columns)
    typer.echo(f"  {'column':{width}}  {'compared':>11}  {'different':>11}  first")
    for name, found in differences.columns.items():
        line = f"  {name:{width}}  {found.n_compared:>11,}  {found.n_different:>11,}  {'; '.join(found.examples)}"
        typer.echo(line.rstrip())


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("rows", total=None)
        yield lambda done, total: bar.update(shown, completed=done, total=total)
