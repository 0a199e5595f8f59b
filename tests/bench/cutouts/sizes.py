"""How much a run measures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Size of a run; the defaults are what the limits are stated for, `tiny()` only shows that it works."""

    brick_pixels: int = 3600
    n_targets: tuple[int, ...] = (1, 3, 30, 300)
    n_repeats: int = 5
    n_validated: int = 4000
    n_packed: int = 50_000
    n_memory: int = 50_000


def tiny() -> Sizes:
    """Sizes of a run of seconds, for the test of the benchmark itself."""
    return Sizes(brick_pixels=400, n_targets=(1, 3), n_repeats=1, n_validated=64, n_packed=256, n_memory=256)
