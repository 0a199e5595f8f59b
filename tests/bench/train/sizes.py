"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Size of a run; the defaults are what the limits are stated for, `tiny()` only shows that it works.

    The limits on statistics are for the first of `n_cells`; 15,000 square degrees are 71,500 cells.
    """

    n_packed: int = 8192
    batch_size: int = 64
    n_steps: tuple[tuple[str, int], ...] = (("resnet18", 10), ("shielded_resnet", 24))
    n_repeats: int = 3
    n_scores: int = 500_000
    n_positives: int = 5000
    n_cells: tuple[int, ...] = (10_000, 71_500)
    n_replicates: int = 2000
    n_on_gpu: int = 450_000


def tiny() -> Sizes:
    """Sizes of a run of seconds, for the test of the benchmark itself."""
    return Sizes(
        n_packed=128,
        batch_size=16,
        n_steps=(("shielded_resnet", 2),),
        n_repeats=1,
        n_scores=2000,
        n_positives=100,
        n_cells=(50,),
        n_replicates=20,
        n_on_gpu=256,
    )
