"""The training loop, from top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.arithmetic import Chance, compiled, precision_on, repeatable, seeded
from training.augment import augment
from training.batches import cut_pieces, draw_order
from training.config import TrainConfig
from training.errors import CollapsedError
from training.guards import LossWatch, find_trouble, require_finite_scores
from training.images import Images, ahead
from training.model import logits
from training.progress import Progress, silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One split: images (n, 3, h, w), in memory or in a pack; all else of shape (n,), on the CPU.

    `labels` (0.0 and 1.0) and `weights` are the manifest's; `targets` in [0, 1] are what the loss compares with.
    """

    images: Images
    labels: Tensor
    weights: Tensor
    targets: Tensor
    cutout_id: Tensor


@dataclass(frozen=True)
class EpochResult:
    """One pass, as in the table `training.epoch`."""

    epoch: int
    train_loss: float
    val_loss: float
    val_auc: float
    learning_rate: float
    n_images: int
    seconds: float


@dataclass(frozen=True)
class Fitted:
    """The epoch that was best on the validation split, and its weights."""

    best: EpochResult
    state: dict[str, Tensor]


@dataclass(frozen=True)
class State:
    """A training after some epochs: all that it needs to go on as if it had not been interrupted."""

    epochs: tuple[EpochResult, ...]
    best: Fitted
    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    chance: dict[str, Tensor]


class Memory(Protocol):
    """Where a training is kept from epoch to epoch."""

    def recall(self) -> State | None:
        """Return the training that was kept; None when it has not begun."""

    def keep(self, state: State) -> None:
        """Keep a training; its tensors change once this returns."""


class Forgetful:
    """Keeps nothing."""

    def recall(self) -> State | None:
        """Remember nothing."""

    def keep(self, _state: State) -> None:
        """Do nothing."""


def fit(
    network: nn.Module,
    parts: tuple[Part, Part],
    recipe: TrainConfig,
    on_epoch: Callable[[EpochResult], None],
    progress: Progress = silent,
    memory: Memory | None = None,
) -> Fitted:
    """Train on the first part, choose the epoch on the second.

    Everything random follows from the recipe's seed; on the CPU a repetition gives the same weights, and so does a
    training that was interrupted and went on.

    Parameters
    ----------
    network
        On its device; trained in place.
    on_epoch
        Called after each epoch; first with each of those that `memory` gives back.
    memory
        Keeps the training after each epoch; None keeps nothing.

    Raises
    ------
    CollapsedError
        When the loss is not finite, the validation scores are constant, or they show no skill for three epochs.
    """
    train, val = parts
    memory = memory or Forgetful()
    device = next(network.parameters()).device
    positive_weight = _positive_weight(train) if recipe.balance == "loss" else 1.0
    learner = _Learner(network, recipe, device)
    epochs: list[EpochResult] = []
    best: Fitted | None = None

    with repeatable(recipe.deterministic, device), seeded(recipe.seed, device) as chance:
        state = memory.recall()
        if state is not None:
            network.load_state_dict(state.network)
            learner.optimiser.load_state_dict(state.optimiser)
            chance.restore(state.chance)
            epochs, best = list(state.epochs), state.best
            for row in state.epochs:
                on_epoch(row)

        while len(epochs) < recipe.epochs and not (best and len(epochs) - best.best.epoch >= recipe.patience):
            started = time.perf_counter()
            epoch = len(epochs) + 1
            train_loss, learning_rate, n_images = learner.show(train, epoch, positive_weight, chance, progress)

            output = logits(network, val.images).float()
            require_finite_scores(output, val.cutout_id, epoch)
            val_loss = _losses(output, val.targets, _heed(val, positive_weight)).sum() / val.weights.sum()
            result = EpochResult(
                epoch=epoch,
                train_loss=train_loss,
                val_loss=val_loss.item(),
                val_auc=float(roc_auc_score(val.labels.numpy(), output.numpy())),
                learning_rate=learning_rate,
                n_images=n_images,
                seconds=time.perf_counter() - started,
            )
            epochs.append(result)
            if best is None or result.val_auc > best.best.val_auc:
                weights = {name: value.to("cpu", copy=True) for name, value in network.state_dict().items()}
                best = Fitted(result, weights)
            aucs = [row.val_auc for row in epochs]
            trouble = find_trouble(output, epoch, aucs, is_control=recipe.shuffle_labels)
            if trouble is None:
                memory.keep(
                    State(tuple(epochs), best, network.state_dict(), learner.optimiser.state_dict(), chance.state())
                )
            on_epoch(result)
            if trouble is not None:
                raise CollapsedError(trouble)
    if best is None:
        raise CollapsedError("no epoch was trained: set epochs to 1 or more")
    return best


class _Learner:
    """A network, its optimiser, and one pass over the training part."""

    def __init__(self, network: nn.Module, recipe: TrainConfig, device: torch.device) -> None:
        self.recipe, self.device, self.network = recipe, device, network
        self.forward = compiled(network) if recipe.compile else network
        precision = precision_on(device, recipe.precision)
        if precision != recipe.precision:
            _log.warning(
                "this machine does not compute in %s: %s is trained in %s", recipe.precision, recipe.name, precision
            )
        self.is_bf16 = precision == "bf16"
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )

    def show(
        self, train: Part, epoch: int, positive_weight: float, chance: Chance, progress: Progress
    ) -> tuple[float, float, int]:
        """Train on one epoch's images; return the mean loss, the mean learning rate and the number of images."""
        recipe, device = self.recipe, self.device
        n_images = recipe.epoch_images or len(train.labels)
        n_steps = math.ceil(n_images / recipe.batch_size)
        order = draw_order(train.labels, n_images, recipe, chance.batches)
        pieces = cut_pieces(train.weights[order], recipe.batch_size, recipe.micro_batch)
        # All that the epoch needs but the images goes to the device at once: no step waits for a transfer.
        targets, heed = train.targets[order].to(device), _heed(train, positive_weight)[order].to(device)
        rows = order.to(getattr(train.images, "device", "cpu"))
        spans = [slice(piece.first, piece.end) for piece in pieces]
        advice = f"in epoch {epoch}: lower learning_rate ({recipe.learning_rate})"
        watch = LossWatch(train.images, train.cutout_id, advice, _look_every(device))
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        rates: list[float] = []

        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        loaded = ahead(train.images, (rows[span] for span in spans), device)
        for piece, span, (chosen, pixels) in zip(pieces, spans, loaded, strict=True):
            images = augment(pixels, chance.images, recipe.augment)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.is_bf16):
                output = self.forward(images.contiguous(memory_format=torch.channels_last)).squeeze(1)
            losses = _losses(output.float(), targets[span], heed[span])
            watch.see(chosen, losses, images)
            loss = losses.sum() / piece.batch_weight
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
            loss_sum += losses.detach().sum()
            if piece.ends_batch:
                rates.append(self._step((epoch - 1) * n_steps + len(rates), n_steps * recipe.epochs))
            progress(f"epoch {epoch} of {recipe.epochs}", min(piece.end, n_images), n_images)
        watch.look()
        weight_sum = math.fsum(piece.batch_weight for piece in pieces if piece.ends_batch)
        n_seen = sum(piece.end - piece.first for piece in pieces)
        return loss_sum.item() / weight_sum, math.fsum(rates) / len(rates), n_seen

    def _step(self, step: int, n_steps: int) -> float:
        """Move the weights along the gradients of a batch; return the learning rate."""
        rate = self.recipe.learning_rate * _rate_factor(step, n_steps, self.recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        if self.recipe.gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return rate


def _look_every(device: torch.device) -> int:
    """Number of batches between two looks at the losses, for each of which a GPU has to be waited for."""
    return 1 if device.type == "cpu" else 50


def _losses(output: Tensor, targets: Tensor, heed: Tensor) -> Tensor:
    """Loss of each image times the heed that is paid to it, shape (n,)."""
    return binary_cross_entropy_with_logits(output, targets, heed, reduction="none")


def _heed(part: Part, positive_weight: float) -> Tensor:
    return torch.where(part.labels > 0.5, part.weights * positive_weight, part.weights)


def _positive_weight(train: Part) -> float:
    positive = (train.weights * train.labels).sum()
    return ((train.weights.sum() - positive) / positive).item()


def _rate_factor(step: int, n_steps: int, recipe: TrainConfig) -> float:
    """Learning rate of a step as a fraction of the recipe's: linear warm-up, then constant or half a cosine, halved."""
    n_warmup = int(n_steps * recipe.warmup_fraction)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    halved = 0.5 ** sum(step >= fraction * n_steps for fraction in recipe.halve_at)
    if recipe.schedule == "constant":
        return halved
    return halved * 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))
