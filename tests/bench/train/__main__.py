"""`python -m tests.bench.train`: measure, print the table, write the JSON, exit 1 when a limit was missed."""

from __future__ import annotations

from typing import Annotated

import typer

from tests.bench.parts import Bench
from tests.bench.train.sizes import Sizes, tiny

BENCH = Bench(
    title="Training and evaluation",
    package="tests.bench.train",
    parts=("loop", "statistics", "gpu"),
    libraries=("numpy", "scipy", "scikit-learn", "torch", "torchvision"),
)


def main(
    only: Annotated[str, typer.Option(help=f"Parts to run, comma-separated: {', '.join(BENCH.parts)}.")] = ",".join(
        BENCH.parts
    ),
    is_tiny: Annotated[bool, typer.Option("--tiny", help="Show that it works, in seconds, without limits.")] = False,
) -> None:
    """Measure training and evaluation. Needs a machine that does nothing else."""
    BENCH.run(only, tiny() if is_tiny else Sizes(), is_tiny=is_tiny)


if __name__ == "__main__":
    typer.run(main)
