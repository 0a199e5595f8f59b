"""Preprocessed images as the network takes them, whether they lie in memory or are made when they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import torch
from torch import Tensor

CPU = torch.device("cpu")
DEPTH = 2
"""Batches that are made ahead of the network."""

Rows = TypeVar("Rows", slice, Tensor)


class Images(Protocol):
    """Images by row, shape (n, 3, h, w) float32; a tensor is one."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Some of them, contiguous in memory (bands first or last), on the CPU or on the device where they lie."""


def ahead(images: Images, batches: Iterable[Rows], device: torch.device = CPU) -> Iterator[tuple[Rows, Tensor]]:
    """Give batches of images in order, each with its rows, on a device.

    Images that lie on a GPU are taken there as they are asked for, which no thread makes faster. Others are made by a
    thread, a few batches ahead, and sent from pinned memory, so that the GPU works meanwhile.
    """
    if getattr(images, "device", CPU).type != "cpu":
        for rows in batches:
            yield rows, images[rows].to(device)
        return

    def make(rows: slice | Tensor) -> Tensor:
        made = images[rows]
        return made if device.type == "cpu" else made.pin_memory().to(device, non_blocking=True)

    with ThreadPoolExecutor(1, thread_name_prefix="images") as thread:
        waiting: deque[tuple[Rows, Future[Tensor]]] = deque()
        for rows in batches:
            waiting.append((rows, thread.submit(make, rows)))
            if len(waiting) > DEPTH:
                first, made = waiting.popleft()
                yield first, made.result()
        while waiting:
            first, made = waiting.popleft()
            yield first, made.result()
