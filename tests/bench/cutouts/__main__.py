"""`python -m tests.bench.cutouts`: measure, print the table, write the JSON, exit 1 when a limit was missed."""

from __future__ import annotations

from typing import Annotated

import typer

from tests.bench.cutouts.sizes import Sizes, tiny
from tests.bench.parts import Bench

BENCH = Bench(
    title="Cutouts",
    package="tests.bench.cutouts",
    parts=("slicing", "validation", "packing", "memory"),
    libraries=("numpy", "fitsio", "astropy", "torch", "pyarrow", "zarr", "h5py", "safetensors", "webdataset"),
)


def main(
    only: Annotated[str, typer.Option(help=f"Parts to run, comma-separated: {', '.join(BENCH.parts)}.")] = ",".join(
        BENCH.parts
    ),
    is_tiny: Annotated[bool, typer.Option("--tiny", help="Show that it works, in seconds, without limits.")] = False,
) -> None:
    """Measure cutouts. Needs a machine that does nothing else."""
    BENCH.run(only, tiny() if is_tiny else Sizes(), is_tiny=is_tiny)


if __name__ == "__main__":
    typer.run(main)
