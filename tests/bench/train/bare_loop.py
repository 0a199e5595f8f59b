"""The peer: torch and nothing else, with the best settings known - channels last, a fused optimiser, one fixed batch.

No data, no augmentation, no weights, no bookkeeping, no validation: what a loop cannot be faster than.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


def images_per_second(network: nn.Module, images: Tensor, targets: Tensor, n_steps: int, *, is_bf16: bool) -> float:
    """Train on one batch, over and over; images each second.

    Parameters
    ----------
    network, images, targets
        On their device: images (n, 3, h, w), channels last; targets (n,).
    """
    device = images.device
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    network.train()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
            output = network(images).squeeze(1)
        binary_cross_entropy_with_logits(output.float(), targets).backward()
        optimiser.step()

    step()
    _wait(device)
    start = time.perf_counter()
    for _ in range(n_steps):
        step()
    _wait(device)
    return n_steps * len(images) / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
