"""One large GPU: ResNet-18 trained and scored from a pack that stays on the card, and what bounds it.

Without a GPU nothing is measured, and the table says so. What the card itself can do - the bandwidth of a copy within
its memory, the throughput of a large bf16 matrix product - is measured in the same run; the work of a training step is
counted by torch from the operations that it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from db.settings import CHECKOUT
from tests.bench.limits import Measure, median
from tests.bench.train.sizes import Sizes
from training.config import TrainConfig
from training.fit import EpochResult, Part, fit
from training.model import logits, seeded_network
from training.preprocess import Preprocessing
from training.resident import ResidentImages
from training.scaling import statistics_on_device

RULES = Preprocessing(pixel_dtype="float16")
PROFILE = CHECKOUT / "build" / "bench" / "train-gpu-profile.txt"
_CHUNK = 8192


def measure(_folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Train three epochs on a pack of the survey's size, score it, and hold both to the card's own limits."""
    if not torch.cuda.is_available():
        out.print("no GPU here: not measured")
        return []
    device = torch.device("cuda")
    images = _resident(sizes.n_on_gpu, device)
    held_gb = (images.pixels.nbytes + images.median.nbytes + images.mad.nbytes) / 1e9
    epochs = _train(images, sizes)
    rate = [epoch.n_images / epoch.seconds for epoch in epochs[1:]]
    network = seeded_network("resnet18", 0).to(device)
    scoring = [
        len(images) / _seconds(lambda: logits(network, images, batch_size=8192, precision="bf16")) for _ in "123"
    ]
    flop = _flop_per_image(network, images, sizes.gpu_batch_size)
    matrix = _matrix_flop_per_second(device)
    copied = _bytes_per_second(device)
    moved = _bytes_per_image(network, images, sizes)
    trained = sorted(rate)[len(rate) // 2]
    return [
        median("trained, bf16, resident pack", rate, "images/s", at_least=50_000.0),
        median(f"an epoch of {sizes.n_on_gpu:,} cutouts", [e.seconds for e in epochs[1:]], "s", at_most=10.0),
        median("scored, bf16, resident pack", scoring, "images/s", at_least=200_000.0),
        Measure("pack and statistics on the card", held_gb, "GB"),
        Measure("matrix product 8192^3, bf16", matrix / 1e12, "TFLOP/s"),
        Measure("work of a training step", flop / 1e9, "GFLOP/image"),
        Measure("share of the matrix throughput reached", trained * flop / matrix, ""),
        Measure("copy within the card's memory, read and written", copied / 1e9, "GB/s"),
        Measure("memory traffic of a training step, by the profiler's operations", moved / 1e6, "MB/image"),
        Measure("share of the memory bandwidth reached", trained * moved / copied, ""),
    ]


def _resident(n: int, device: torch.device) -> ResidentImages:
    pixels = torch.empty((n, RULES.crop_px, RULES.crop_px, 3), dtype=torch.float16, device=device)
    median_, mad = (torch.empty((n, 3), device=device) for _ in range(2))
    for first in range(0, n, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        pixels[chunk] = torch.randn_like(pixels[chunk], dtype=torch.float32).mul_(0.02).half()
        median_[chunk], mad[chunk] = statistics_on_device(pixels[chunk], RULES)
    return ResidentImages(pixels, median_, mad, RULES)


def _train(images: ResidentImages, sizes: Sizes) -> list[EpochResult]:
    recipe = TrainConfig.model_validate(
        {
            "name": "bench",
            "preprocessing": RULES,
            "batch_size": sizes.gpu_batch_size,
            "epochs": 4,
            "learning_rate": 1e-4,
            "shuffle_labels": True,
            "precision": "bf16",
            "compile": True,
            "deterministic": False,
            "device": "cuda",
        }
    )
    n = len(images)
    labels = (torch.arange(n) % 100 == 0).float()
    few = torch.arange(256)
    epochs: list[EpochResult] = []
    parts = (
        Part(images, labels, torch.ones(n), labels, torch.arange(n)),
        Part(images[few], (few % 2).float(), torch.ones(256), (few % 2).float(), few),
    )
    fit(seeded_network("resnet18", 0).to(images.device), parts, recipe, epochs.append)
    return epochs


def _step(network: nn.Module, images: ResidentImages, n: int) -> None:
    batch = images[slice(0, n)].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16):
        output = network(batch).squeeze(1)
    binary_cross_entropy_with_logits(output.float(), torch.zeros(n, device=images.device)).backward()


def _flop_per_image(network: nn.Module, images: ResidentImages, n: int) -> float:
    network.train()
    with FlopCounterMode(display=False) as counter:
        _step(network, images, n)
    return counter.get_total_flops() / n


def _bytes_per_image(network: nn.Module, images: ResidentImages, sizes: Sizes) -> float:
    """Write the profile of a step, and add up what its operations read and wrote: an upper limit of the traffic."""
    n = sizes.gpu_batch_size
    network.train()
    _step(network, images, n)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True) as found:
        for _ in range(3):
            _step(network, images, n)
        torch.cuda.synchronize()
    PROFILE.parent.mkdir(parents=True, exist_ok=True)
    PROFILE.write_text(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25))
    activations = 0

    def count(_module: nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        nonlocal activations
        activations += sum(each.numel() for each in given) + made.numel()

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    with torch.no_grad():
        network(images[slice(0, 8)])
    for hook in hooks:
        hook.remove()
    # Forward reads and writes each once, in two bytes; backward reads both again and writes their gradients.
    return activations / 8 * 2 * 3


def _matrix_flop_per_second(device: torch.device) -> float:
    size = 8192
    a, b = (torch.randn((size, size), device=device, dtype=torch.bfloat16) for _ in range(2))
    torch.mm(a, b)
    return 10 * 2 * size**3 / _seconds(lambda: [torch.mm(a, b) for _ in range(10)])


def _bytes_per_second(device: torch.device) -> float:
    source = torch.empty(2 << 30, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    return 10 * 2 * source.nbytes / _seconds(lambda: [target.copy_(source) for _ in range(10)])


def _seconds(work: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start
