"""`stronglens manifest` at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.bars import progress_bar
from training.packs.commands import PixelTypeName

app = typer.Typer(help="Manifests: what a draw's cutouts are trained on.", no_args_is_help=True)


@app.callback()
def _manifest() -> None:
    """Take a manifest elsewhere."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder of the snapshot.")],
    draw: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    scheme: Annotated[str | None, typer.Option(help="Name of the split scheme [default].")] = None,
    cutout_version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    crop: Annotated[int | None, typer.Option(help="Take the pack of this crop, pixels [the smallest].")] = None,
    dtype: Annotated[PixelTypeName | None, typer.Option(help="Take the pack of this type of pixel.")] = None,
) -> None:
    """Write a manifest and its pack to a folder that trains without a database (`train --manifest`)."""
    from db.config import load_config
    from db.engine import open_engine
    from training.snapshot.export import ExportConfig, export_snapshot

    config = load_config(
        ExportConfig,
        None,
        draw=draw,
        scheme=scheme,
        cutout_version=cutout_version,
        crop_px=crop,
        dtype=dtype.value if dtype is not None else None,
    )
    with progress_bar() as progress:
        done = export_snapshot(open_engine(), config, folder, progress)
    about = done.description
    typer.echo(
        f"{done.folder}: {about.pack.n_cutouts:,} cutouts of {about.pack.crop_px} px as {about.pack.dtype}, verdict "
        f"{about.gate}; snapshot {done.sha256}"
    )
