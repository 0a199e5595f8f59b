"""Preprocessed images as the network takes them, whether they lie in memory or are made when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

from torch import Tensor

DEPTH = 2
"""Batches that are made ahead of the network."""

Rows = TypeVar("Rows", slice, Tensor)


class Images(Protocol):
    """Images by row, shape (n, 3, h, w) float32; a tensor is one."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Some of them, contiguous in memory, on the CPU."""


def ahead(images: Images, batches: Iterable[Rows]) -> Iterator[tuple[Rows, Tensor]]:
    """Give batches of images in order, each with its rows; a thread makes the next ones meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="images") as thread:
        waiting: deque[tuple[Rows, Future[Tensor]]] = deque()
        for rows in batches:
            waiting.append((rows, thread.submit(images.__getitem__, rows)))
            if len(waiting) > DEPTH:
                first, made = waiting.popleft()
                yield first, made.result()
        while waiting:
            first, made = waiting.popleft()
            yield first, made.result()
