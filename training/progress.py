"""How a stage tells whoever waits what it is doing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def silent(_task: str, _done: int, _total: int) -> None:
    """Show nothing."""
