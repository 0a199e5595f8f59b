"""Which images an epoch shows, in which order, and how many go through the network at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from training.config import TrainConfig


@dataclass(frozen=True)
class Piece:
    """Images that go through the network together: a batch, or a part of one.

    `first` and `end` are places in the order of the epoch; `batch_weight` is the sum of the weights of the whole batch,
    by which every piece of it is normalised, so that the sum of their gradients is the batch's.
    """

    first: int
    end: int
    batch_weight: float
    ends_batch: bool


def draw_order(labels: Tensor, n_images: int, recipe: TrainConfig, chance: torch.Generator) -> Tensor:
    """Rows in the order in which an epoch shows them, on the CPU."""
    if recipe.balance != "sampling":
        return _dealt(torch.arange(len(labels)), n_images, chance)
    half = n_images // 2
    positive, negative = (labels > 0.5).nonzero().squeeze(1), (labels <= 0.5).nonzero().squeeze(1)
    drawn = torch.cat([_dealt(positive, half, chance), _dealt(negative, n_images - half, chance)])
    return drawn[torch.randperm(len(drawn), generator=chance)]


def cut_pieces(weights: Tensor, batch_size: int, micro_batch: int | None) -> list[Piece]:
    """Cut an epoch into batches and these into pieces of about `micro_batch`; `weights` are in the epoch's order.

    Batch normalisation cannot take a single image: a batch of one is left out, and no piece is made so small.
    """
    pieces: list[Piece] = []
    for first in range(0, len(weights), batch_size):
        end = min(first + batch_size, len(weights))
        n = end - first
        if n < 2:
            continue
        n_pieces = 1 if micro_batch is None else min(-(-n // micro_batch), n // 2)
        bounds = [first + n * piece // n_pieces for piece in range(n_pieces + 1)]
        weight = float(weights[first:end].sum())
        pieces += [Piece(*span, weight, span[1] == end) for span in pairwise(bounds)]
    return pieces


def _dealt(members: Tensor, n: int, chance: torch.Generator) -> Tensor:
    """Draw `n` members in random order, each as often as any other, give or take one."""
    rounds = [members[torch.randperm(len(members), generator=chance)] for _ in range(-(-n // len(members)))]
    return torch.cat(rounds)[:n]
