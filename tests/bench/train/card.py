"""What a device can do by itself, and what a training asks of it: operations, traffic, a profile of the real loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tests.bench.train.bare_loop import wait
from tests.bench.train.ways import epochs_of
from training.config import TrainConfig
from training.fit import EpochResult
from training.resident import ResidentImages

N_PROFILED_STEPS = 12
_N_TIMES = 10


def flop_of_a_matrix_product_per_second(device: torch.device, size: int = 8192) -> float:
    """Throughput of large bf16 matrix products."""
    a, b = (torch.randn((size, size), device=device, dtype=torch.bfloat16) for _ in range(2))
    torch.mm(a, b)
    return _N_TIMES * 2 * size**3 / seconds(device, lambda: [torch.mm(a, b) for _ in range(_N_TIMES)])


def bytes_copied_per_second(device: torch.device, n_bytes: int = 2 << 30) -> float:
    """Bytes read and written each second by copies within the device's memory."""
    source = torch.empty(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return _N_TIMES * 2 * n_bytes / seconds(device, lambda: [target.copy_(source) for _ in range(_N_TIMES)])


def flop_per_image(network: nn.Module, batch: Tensor) -> float:
    """Floating-point operations of a forward and a backward pass, counted by torch from what it runs uncompiled."""
    network.train()
    with FlopCounterMode(display=False) as counter:
        output = network(batch).squeeze(1)
        binary_cross_entropy_with_logits(output, torch.zeros_like(output)).backward()
    return counter.get_total_flops() / len(batch)


def estimated_bytes_per_image(network: nn.Module, batch: Tensor) -> float:
    """Memory traffic of a training step, estimated from the sizes of activations; nothing is measured.

    Every layer reads what it is given and writes what it makes, in two bytes; the way back moves twice that. Layers
    that are fused move less; weights and optimiser are left out.
    """
    n_numbers = 0

    def count(_module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal n_numbers
        n_numbers += sum(each.numel() for each in given) + made.numel()

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    with torch.inference_mode():
        network.eval()(batch)
    for hook in hooks:
        hook.remove()
    return n_numbers / len(batch) * 2 * 3


def profiled(images: ResidentImages, recipe: TrainConfig, device: torch.device, n_rows: int) -> str:
    """Train by the real loop - augmentation, network as the recipe has it, optimiser - and profile its second epoch."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    found = profile(activities=activities)

    def heard(row: EpochResult) -> None:
        wait(device)
        if row.epoch == 1:
            found.start()
        else:
            found.stop()

    short = {"epochs": 2, "epoch_images": N_PROFILED_STEPS * recipe.batch_size}
    epochs_of(images, recipe.model_copy(update=short), device, heard)
    table: str = found.key_averages().table(sort_by=f"self_{device.type}_time_total", row_limit=n_rows)
    return table


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Time that a device takes for some work."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start
