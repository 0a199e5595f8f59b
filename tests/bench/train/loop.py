"""What data and bookkeeping cost a training: the loop fed from a pack, the loop fed a constant, and a bare torch loop.

All three train the same network on the same device with the same batch, one after the other in every round; ratios are
of the same round, and the table shows their medians. The loop is the real one (`training.fit`), with augmentation,
weights, checks of every batch and its epochs' ends; its validation part is a handful of cutouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from tests.bench.limits import Measure, median
from tests.bench.train.bare_loop import images_per_second
from tests.bench.train.made_pack import made_pack
from tests.bench.train.sizes import Sizes
from training.config import TrainConfig
from training.fit import EpochResult, Part, fit
from training.images import Images
from training.model import choose_device, seeded_network
from training.packs.read import PackedImages
from training.preprocess import Preprocessing

RULES = Preprocessing(pixel_dtype="float16")
N_EPOCHS = 3
LEAST_SHARE = 0.90


@dataclass(frozen=True)
class Constant:
    """Images that cost nothing: the same batch, whatever rows are asked for."""

    batch: Tensor
    n_images: int

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        n = len(range(self.n_images)[rows]) if isinstance(rows, slice) else len(rows)
        return self.batch[:n]


def measure(folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Train each network in the three ways, in turn."""
    device = choose_device("cpu")
    with out.status(f"packing {sizes.n_packed:,} cutouts"):
        pack = made_pack(folder, sizes.n_packed, RULES.crop_px)
    packed = PackedImages(pack, np.arange(sizes.n_packed), RULES)
    warmed = torch.cat([packed[slice(at, at + 256)] for at in range(0, sizes.n_packed, 256)])[: sizes.batch_size]
    batch = warmed.contiguous(memory_format=torch.channels_last)
    measures: list[Measure] = []
    for architecture, n_steps in sizes.n_steps:
        rounds: dict[str, list[float]] = {"pack": [], "constant": [], "bare": []}
        with out.status(f"training {architecture}") as status:
            for repeat in range(sizes.n_repeats):
                status.update(f"training {architecture}, round {repeat + 1} of {sizes.n_repeats}")
                recipe = _recipe(architecture, sizes, n_steps)
                rounds["constant"].append(_loop_rate(Constant(batch, sizes.n_packed), recipe, device))
                rounds["pack"].append(_loop_rate(packed, recipe, device))
                network = seeded_network(architecture, 0)
                targets = (torch.arange(len(batch)) % 2).float()
                rounds["bare"].append(images_per_second(network, batch, targets, n_steps, is_bf16=False))
        measures += _measures(architecture, rounds)
    return measures


def _recipe(architecture: str, sizes: Sizes, n_steps: int) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "bench",
            "architecture": architecture,
            "preprocessing": RULES,
            "batch_size": sizes.batch_size,
            "epochs": N_EPOCHS,
            "epoch_images": n_steps * sizes.batch_size,
            "learning_rate": 1e-4,
            "shuffle_labels": True,
            "patience": N_EPOCHS,
            "device": "cpu",
        }
    )


def _loop_rate(images: Images, recipe: TrainConfig, device: torch.device) -> float:
    """Images each second of the best epoch but the first, which warms up; its validation is eight cutouts."""
    chance = torch.Generator().manual_seed(1)
    n = len(images)
    labels = (torch.rand(n, generator=chance) < 0.5).float()
    few = Part(torch.randn((8, 3, 64, 64), generator=chance), *_about(torch.arange(8) % 2 == 0))
    epochs: list[EpochResult] = []
    fit(
        seeded_network(recipe.architecture, 0).to(device),
        (Part(images, *_about(labels > 0.5)), few),
        recipe,
        epochs.append,
    )
    return max(epoch.n_images / epoch.seconds for epoch in epochs[1:])


def _about(is_positive: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels, weights, targets and ids of a part."""
    labels = is_positive.float()
    return labels, torch.ones(len(labels)), labels, torch.arange(len(labels))


def _measures(architecture: str, rounds: dict[str, list[float]]) -> list[Measure]:
    data = [pack / constant for pack, constant in zip(rounds["pack"], rounds["constant"], strict=True)]
    whole = [pack / bare for pack, bare in zip(rounds["pack"], rounds["bare"], strict=True)]
    return [
        median(f"{architecture}: our loop from a pack", rounds["pack"], "images/s"),
        median(f"{architecture}: our loop, constant batch", rounds["constant"], "images/s"),
        median(f"{architecture}: bare torch loop, constant batch", rounds["bare"], "images/s"),
        median(f"{architecture}: pack over constant", data, "x", at_least=LEAST_SHARE),
        median(f"{architecture}: our whole loop from a pack over the bare loop", whole, "x", at_least=LEAST_SHARE),
    ]
