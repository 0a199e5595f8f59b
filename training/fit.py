"""The training loop, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from training.augment import augment
from training.config import TrainConfig
from training.errors import CollapsedError
from training.images import Images, ahead
from training.model import logits
from training.progress import Progress, silent

LEAST_SPREAD = 1e-6
"""Validation logits with a smaller standard deviation (relative to their mean, where that is beyond 1) are constant: a
collapsed network. Scores after the sigmoid would not do: they may all round to 0 or 1 and still rank well."""
LEAST_AUC = 0.55
PATIENCE_BELOW_LEAST_AUC = 3
"""So many epochs in a row below `LEAST_AUC` are a failure, unless the labels were shuffled on purpose."""


@dataclass(frozen=True)
class Part:
    """One split: images (n, 3, h, w), in memory or in a pack; labels (n,) of 0.0 and 1.0, weights (n,)."""

    images: Images
    labels: Tensor
    weights: Tensor


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


def fit(
    network: nn.Module,
    parts: tuple[Part, Part],
    recipe: TrainConfig,
    on_epoch: Callable[[EpochResult], None],
    progress: Progress = silent,
) -> Fitted:
    """Train on the first part, choose the epoch on the second.

    Everything random follows from the recipe's seed; on the CPU a repetition gives the same weights.

    Parameters
    ----------
    network
        On its device; trained in place.
    on_epoch
        Called after each epoch.

    Raises
    ------
    CollapsedError
        When the loss is not finite, the validation scores are constant, or they show no skill for three epochs.
    """
    train, val = parts
    chance = torch.Generator().manual_seed(recipe.seed)
    positive_weight = _positive_weight(train) if recipe.balance == "loss" else 1.0
    n_images = recipe.epoch_images or len(train.labels)
    n_steps = recipe.epochs * math.ceil(n_images / recipe.batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate_factor(step, n_steps, recipe))
    device = next(network.parameters()).device
    best: Fitted | None = None
    n_without_skill = 0

    with _deterministic():
        for epoch in range(1, recipe.epochs + 1):
            started = time.perf_counter()
            network.train()
            loss_sum = weight_sum = rate_sum = 0.0
            n_seen = n_batches = 0
            for batch, loaded in ahead(train.images, _batches(train.labels, n_images, recipe, chance)):
                images = augment(loaded.to(device), chance, recipe.augment)
                output = network(images.contiguous(memory_format=torch.channels_last)).squeeze(1)
                weights = train.weights[batch].to(device)
                losses = _losses(output, train.labels[batch].to(device), weights, positive_weight)
                loss = losses.sum() / weights.sum()
                value = loss.item()
                if not math.isfinite(value):
                    raise CollapsedError(
                        f"the loss became {value} in epoch {epoch}: lower learning_rate ({recipe.learning_rate}), "
                        "or look for cutouts with absurd pixels"
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
                rate_sum += float(schedule.get_last_lr()[0])
                optimiser.step()
                schedule.step()
                loss_sum += losses.sum().item()
                weight_sum += weights.sum().item()
                n_seen += len(batch)
                n_batches += 1
                progress(f"epoch {epoch} of {recipe.epochs}", min(n_seen, n_images), n_images)

            output = logits(network, val.images)
            val_loss = _losses(output, val.labels, val.weights, positive_weight).sum() / val.weights.sum()
            if not torch.isfinite(output).all() or not torch.isfinite(val_loss):
                raise CollapsedError(f"the validation scores of epoch {epoch} are not finite: lower learning_rate")
            result = EpochResult(
                epoch=epoch,
                train_loss=loss_sum / weight_sum,
                val_loss=val_loss.item(),
                val_auc=float(roc_auc_score(val.labels.numpy(), output.numpy())),
                learning_rate=rate_sum / n_batches,
                n_images=n_seen,
                seconds=time.perf_counter() - started,
            )
            on_epoch(result)

            if output.double().std().item() < LEAST_SPREAD * max(1.0, abs(output.double().mean().item())):
                raise CollapsedError(f"the validation scores of epoch {epoch} are constant: the network collapsed")
            n_without_skill = n_without_skill + 1 if result.val_auc < LEAST_AUC else 0
            if n_without_skill == PATIENCE_BELOW_LEAST_AUC and not recipe.shuffle_labels:
                raise CollapsedError(
                    f"validation AUC below {LEAST_AUC} for {PATIENCE_BELOW_LEAST_AUC} epochs in a row "
                    f"(now {result.val_auc:.3f}): the network learns nothing"
                )
            if best is None or result.val_auc > best.best.val_auc:
                state = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
                best = Fitted(result, state)
            elif epoch - best.best.epoch >= recipe.patience:
                break
    if best is None:
        raise CollapsedError("no epoch was trained: set epochs to 1 or more")
    return best


def _losses(output: Tensor, labels: Tensor, weights: Tensor, positive_weight: float) -> Tensor:
    """Weighted loss of each image, shape (n,)."""
    emphasis = torch.tensor(positive_weight, device=output.device)
    return binary_cross_entropy_with_logits(output, labels, weights, reduction="none", pos_weight=emphasis)


def _positive_weight(train: Part) -> float:
    positive = (train.weights * train.labels).sum()
    return ((train.weights.sum() - positive) / positive).item()


def _rate_factor(step: int, n_steps: int, recipe: TrainConfig) -> float:
    """Learning rate of a step as a fraction of the recipe's: linear warm-up, then constant or half a cosine."""
    n_warmup = int(n_steps * recipe.warmup_fraction)
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    if recipe.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / max(1, n_steps - n_warmup)))


def _batches(labels: Tensor, n_images: int, recipe: TrainConfig, chance: torch.Generator) -> Iterator[Tensor]:
    """Indices of an epoch, batch by batch; batch normalisation cannot take a batch of one, which is left out."""
    if recipe.balance == "sampling":
        half = n_images // 2
        positive, negative = (labels > 0.5).nonzero().squeeze(1), (labels <= 0.5).nonzero().squeeze(1)
        drawn = torch.cat([_dealt(positive, half, chance), _dealt(negative, n_images - half, chance)])
        drawn = drawn[torch.randperm(len(drawn), generator=chance)]
    else:
        drawn = _dealt(torch.arange(len(labels)), n_images, chance)
    batches = (drawn[first : first + recipe.batch_size] for first in range(0, len(drawn), recipe.batch_size))
    return (batch for batch in batches if len(batch) > 1)


def _dealt(members: Tensor, n: int, chance: torch.Generator) -> Tensor:
    """Draw `n` members in random order, each as often as any other, give or take one."""
    rounds = [members[torch.randperm(len(members), generator=chance)] for _ in range(-(-n // len(members)))]
    return torch.cat(rounds)[:n]


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let torch use only operations that repeat exactly, where it has them."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
