"""`stronglens draw`: make draws of negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

draw_app = typer.Typer(invoke_without_command=True)


def register(root: typer.Typer) -> None:
    """Add `draw` to the command line."""
    root.add_typer(draw_app, name="draw")


@draw_app.callback()
def draw(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML file with the rules of the draw.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    survey: Annotated[str | None, typer.Option(help="dr10 or mock [the one that is loaded].")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw [42].")] = None,
) -> None:
    """Draw stratified negatives, 100 for each matched positive. The same draw again changes nothing."""
    if context.invoked_subcommand is not None:
        _refuse_options(context, {"config": config, "name": name, "survey": survey, "seed": seed})
        return
    from db.config import load_config
    from db.engine import open_engine
    from etl.draw.rules import DrawConfig
    from etl.draw.stage import draw_negatives

    rules = load_config(DrawConfig, config, name=name, survey=survey, seed=seed)
    result = draw_negatives(open_engine(), rules)
    pools = ", ".join(f"{n:,} {pool}" for pool, n in sorted(result.n_by_pool.items()))
    typer.echo(f"draw {result.name} of survey {result.survey}: {pools}" + ("" if result.is_new else " (already drawn)"))
    typer.echo(
        f"{result.n_positives_without_stratum:,} positives have no stratum; shortfall: N1 {result.shortfall_n1:,}, "
        f"N2 {result.shortfall_n2:,} (see results.strata)"
    )
    if result.news:
        typer.echo(result.news)


def _refuse_options(context: typer.Context, options: dict[str, object]) -> None:
    """Options before a subcommand would be silently lost: `draw --name x mine` means something else to each reader."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        word = context.invoked_subcommand
        raise typer.BadParameter(f"--{given[0]} is an option of `draw` itself: write it after `{word}`")


@draw_app.command()
def mine(
    model: Annotated[str, typer.Option(help="Name of the model whose scores are mined.")],
    draw: Annotated[str | None, typer.Option(help="Draw whose members are taken over [the model's own].")] = None,
    n: Annotated[int | None, typer.Option(help="How many galaxies to mine.")] = None,
    per_positive: Annotated[int | None, typer.Option(help="How many for each positive, instead of --n.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new draw [<draw>-mined-<model>].")] = None,
) -> None:
    """Make a new draw of an old one and of the non-lenses that a model scores highest (category `mined`)."""
    from db.config import load_config
    from db.engine import open_engine
    from etl.draw.mine import MineConfig, mine_negatives

    wanted = load_config(MineConfig, None, model=model, draw=draw, n=n, per_positive=per_positive, name=name)
    result = mine_negatives(open_engine(), wanted)
    typer.echo(
        f"draw {result.name}: {result.n_members:,} members, {result.n_mined:,} of them mined with model "
        f"{result.model} ({result.n_wanted:,} wanted), the others those of draw {result.base_name}"
        + ("" if result.is_new else " (already mined)")
    )
    if result.n_near_lens:
        typer.echo(f"{result.n_near_lens:,} negatives of draw {result.base_name} left out: a lens is known there now")
    typer.echo("next: `stronglens splits assign`, `stronglens cutouts make`")


@draw_app.command()
def delete(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the draw.")]) -> None:
    """Delete a draw that no model uses, with all that hangs on it; its cutouts stay."""
    from db.engine import open_engine
    from etl.draw.delete import delete_draw

    result = delete_draw(open_engine(), name)
    typer.echo(f"draw {result.name} is deleted: {result.n_members:,} members")
