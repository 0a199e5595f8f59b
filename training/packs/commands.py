"""`stronglens store pack` at the command line."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from training.bars import progress_bar


class PixelTypeName(StrEnum):
    """Types of a pixel, spelled out here so that the command line needs no numerical code to start."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


def pack(
    draw: Annotated[str | None, typer.Option(help="Name of the draw [default].")] = None,
    scheme: Annotated[str | None, typer.Option(help="Name of the split scheme [default].")] = None,
    cutout_version: Annotated[str | None, typer.Option(help="Version of the cutout set [v1].")] = None,
    crop: Annotated[int | None, typer.Option(help="Pixels along each side, about the centre [64].")] = None,
    dtype: Annotated[PixelTypeName | None, typer.Option(help="Type of a pixel [float16].")] = None,
    shard_mib: Annotated[float | None, typer.Option(help="Size of a shard, MiB [512].")] = None,
) -> None:
    """Put the cutouts of a manifest into a few large files to train from; run again to go on, or to mend."""
    from db.config import load_config
    from db.engine import open_engine
    from training.packs.write import PackConfig, write_pack

    config = load_config(
        PackConfig,
        None,
        draw=draw,
        scheme=scheme,
        cutout_version=cutout_version,
        crop_px=crop,
        dtype=dtype.value if dtype is not None else None,
        shard_mib=shard_mib,
    )
    with progress_bar() as progress:
        done = write_pack(open_engine(), config, progress)
    typer.echo(
        f"pack {done.pack_id}: {done.n_cutouts:,} cutouts in {done.n_shards} shards, {done.n_bytes / 1e6:,.0f} MB; "
        f"{done.n_written} written now"
    )
