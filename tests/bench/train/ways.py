"""One network trained in three ways, in turn: our loop fed from a pack, our loop fed a constant, a bare torch loop.

All on the same device with the same batch, precision and compilation, for as many steps; each way's rate in a round is
the median of its epochs (or blocks of as many steps) but the first, which warms up. Ratios are of the same round. The
loop is the real one (`training.fit`), with augmentation, weights, checks of every batch and its epochs' ends; its
validation part is eight cutouts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.bench.limits import Measure, median
from tests.bench.train.bare_loop import How, images_per_second
from training.arithmetic import precision_on, repeatable
from training.config import TrainConfig
from training.fit import EpochResult, Part, fit
from training.images import Images
from training.model import seeded_network

LEAST_SHARE = 0.90
Rates = dict[str, list[float]]


@dataclass(frozen=True)
class Constant:
    """Images that cost nothing: the same batch, whatever rows are asked for."""

    batch: Tensor
    n_images: int

    @property
    def device(self) -> torch.device:
        """Where the batch lies."""
        return self.batch.device

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        n = len(range(self.n_images)[rows]) if isinstance(rows, slice) else len(rows)
        return self.batch[:n]


def in_turn(
    images: Images, recipe: TrainConfig, device: torch.device, n_rounds: int, told: Callable[[str], None]
) -> Rates:
    """Images each second in every round: of our loop from these images, from one constant batch, and of the bare loop.

    `epoch_images` of the recipe are a whole number of its batches.
    """
    batch = images[slice(0, recipe.batch_size)].to(device).contiguous(memory_format=torch.channels_last)
    targets = (torch.arange(len(batch), device=device) % 2).float()
    how = How(
        n_blocks=recipe.epochs - 1,
        n_steps=(recipe.epoch_images or len(images)) // recipe.batch_size,
        is_bf16=precision_on(device, recipe.precision) == "bf16",
        is_compiled=recipe.compile,
    )
    rates: Rates = {"pack": [], "constant": [], "bare": []}
    for repeat in range(n_rounds):
        told(f"round {repeat + 1} of {n_rounds}")
        rates["constant"].append(_of_our_loop(Constant(batch, len(images)), recipe, device))
        rates["pack"].append(_of_our_loop(images, recipe, device))
        torch.compiler.reset()
        network = seeded_network(recipe.architecture, 0).to(device)
        with repeatable(False, device):  # a bare loop has the fastest arithmetic
            rates["bare"].append(statistics.median(images_per_second(network, batch, targets, how)))
    return rates


def measures(name: str, rates: Rates) -> list[Measure]:
    """Name the rates and their ratios."""
    data = [pack / constant for pack, constant in zip(rates["pack"], rates["constant"], strict=True)]
    whole = [pack / bare for pack, bare in zip(rates["pack"], rates["bare"], strict=True)]
    return [
        median(f"{name}: our loop from a pack", rates["pack"], "images/s"),
        median(f"{name}: our loop, constant batch", rates["constant"], "images/s"),
        median(f"{name}: bare torch loop, constant batch", rates["bare"], "images/s"),
        median(f"{name}: pack over constant", data, "x", at_least=LEAST_SHARE),
        median(f"{name}: our whole loop from a pack over the bare loop", whole, "x", at_least=LEAST_SHARE),
    ]


def epochs_of(
    images: Images, recipe: TrainConfig, device: torch.device, heard: Callable[[EpochResult], None] = lambda _: None
) -> list[EpochResult]:
    """Train by the real loop on images with labels drawn at random."""
    torch.compiler.reset()  # a network compiled before would count against the number of those that torch compiles
    chance = torch.Generator().manual_seed(1)
    few = torch.randn((8, *images[slice(0, 1)].shape[1:]), generator=chance)
    epochs: list[EpochResult] = []

    def hear(row: EpochResult) -> None:
        epochs.append(row)
        heard(row)

    parts = (
        Part(images, *_about(torch.rand(len(images), generator=chance) < 0.5)),
        Part(few, *_about(torch.arange(8) % 2 == 0)),
    )
    fit(seeded_network(recipe.architecture, 0).to(device), parts, recipe, hear)
    return epochs


def _of_our_loop(images: Images, recipe: TrainConfig, device: torch.device) -> float:
    return statistics.median(row.n_images / row.seconds for row in epochs_of(images, recipe, device)[1:])


def _about(is_positive: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Labels, weights, targets and ids of a part."""
    labels = is_positive.float()
    return labels, torch.ones(len(labels)), labels, torch.arange(len(labels))
