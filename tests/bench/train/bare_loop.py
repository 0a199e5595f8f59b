"""The peer: torch and nothing else, with the best settings known - channels last, a fused optimiser, one fixed batch.

No data, no augmentation, no weights, no bookkeeping, no validation: what a loop cannot be faster than.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


@dataclass(frozen=True)
class How:
    """Timed blocks of so many steps, after one that warms up; in which precision; compiled or not."""

    n_blocks: int
    n_steps: int
    is_bf16: bool = False
    is_compiled: bool = False


def images_per_second(network: nn.Module, images: Tensor, targets: Tensor, how: How) -> list[float]:
    """Train on one batch, over and over; images each second of each timed block.

    Parameters
    ----------
    network, images, targets
        On their device: images (n, 3, h, w), channels last; targets (n,).
    """
    device = images.device
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    network.train()
    forward: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False) if how.is_compiled else network

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(how.n_steps):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=how.is_bf16):
                output = forward(images).squeeze(1)
            binary_cross_entropy_with_logits(output.float(), targets).backward()
            optimiser.step()
        wait(device)
        return time.perf_counter() - start

    seconds()
    return [how.n_steps * len(images) / seconds() for _ in range(how.n_blocks)]


def wait(device: torch.device) -> None:
    """Let a device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
