from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from training.config import TrainConfig
from training.errors import CollapsedError
from training.fit import EpochResult, Fitted, Part, fit
from training.model import logits, seeded_network

Recipe = Callable[..., TrainConfig]
MakePart = Callable[[int, int], Part]


class Constant(nn.Module):
    """Answers every image with one number, whatever it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.bias.expand(len(images), 1)


class Blind(Constant):
    """Answers with noise of its own, whatever the image."""

    def forward(self, images: Tensor) -> Tensor:
        chance = torch.Generator().manual_seed(2 * len(images))
        return self.bias + torch.randn(len(images), 1, generator=chance)


def trained(recipe: TrainConfig, parts: tuple[Part, Part]) -> tuple[nn.Module, Fitted, list[EpochResult]]:
    network = seeded_network("resnet18", recipe.seed)
    epochs: list[EpochResult] = []
    fitted = fit(network, parts, recipe, epochs.append)
    network.load_state_dict(fitted.state)
    return network, fitted, epochs


def test_an_easy_task_is_learnt_and_the_best_epoch_is_kept(recipe: Recipe, ring_part: MakePart) -> None:
    val, test = ring_part(90, 2), ring_part(90, 3)
    network, fitted, epochs = trained(recipe(epochs=4), (ring_part(160, 1), val))
    assert fitted.best == max(epochs, key=lambda row: row.val_auc)
    assert [row.epoch for row in epochs] == [1, 2, 3, 4]
    assert all(row.n_images == 160 and row.seconds > 0 for row in epochs)
    assert roc_auc_score(val.labels, logits(network, val.images)) == pytest.approx(fitted.best.val_auc)
    assert roc_auc_score(test.labels, logits(network, test.images)) > 0.9


def test_the_seed_decides_everything_on_the_cpu(recipe: Recipe, ring_part: MakePart) -> None:
    parts = (ring_part(32, 1), ring_part(16, 2))
    before = torch.random.get_rng_state()
    one, two, other = (trained(recipe(epochs=2, seed=seed), parts)[1] for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    assert not torch.equal(one.state["fc.weight"], other.state["fc.weight"])
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_constant_network_is_a_failure_after_one_epoch(recipe: Recipe, ring_part: MakePart) -> None:
    epochs: list[EpochResult] = []
    with pytest.raises(CollapsedError, match="constant"):
        fit(Constant(), (ring_part(32, 1), ring_part(16, 2)), recipe(), epochs.append)
    assert len(epochs) == 1
    assert epochs[0].val_auc == 0.5


def test_three_epochs_without_skill_in_a_row_are_a_failure(recipe: Recipe, ring_part: MakePart) -> None:
    val = ring_part(90, 2)
    blind = torch.randn(90, 1, generator=torch.Generator().manual_seed(180))[:, 0]
    assert roc_auc_score(val.labels, blind) < 0.55
    epochs: list[EpochResult] = []
    with pytest.raises(CollapsedError, match=r"below 0\.55 for 3 epochs"):
        fit(Blind(), (ring_part(32, 1), val), recipe(epochs=9), epochs.append)
    assert len(epochs) == 3


def test_the_control_is_not_blamed_for_having_no_skill(recipe: Recipe, ring_part: MakePart) -> None:
    epochs: list[EpochResult] = []
    parts = (ring_part(32, 1), ring_part(90, 2))
    fit(Blind(), parts, recipe(epochs=5, shuffle_labels=True), epochs.append)
    assert len(epochs) == 5


def test_training_stops_when_the_validation_auc_no_longer_rises(recipe: Recipe, ring_part: MakePart) -> None:
    epochs: list[EpochResult] = []
    parts = (ring_part(32, 1), ring_part(90, 2))
    fit(Blind(), parts, recipe(epochs=9, patience=2, shuffle_labels=True), epochs.append)
    assert len(epochs) == 3  # the scores never change: the first is the best


def test_nan_in_the_loss_is_a_failure_that_says_where(recipe: Recipe, ring_part: MakePart) -> None:
    train = ring_part(32, 1)
    train.images[5, 0, 3, 3] = torch.nan
    with pytest.raises(CollapsedError, match=r"^cutout 1005 has pixels that are not finite"):
        fit(seeded_network("resnet18", 1), (train, ring_part(16, 2)), recipe(), lambda _: None)


def test_nan_in_validation_is_a_failure(recipe: Recipe, ring_part: MakePart) -> None:
    val = ring_part(16, 2)
    val.images[0] = torch.nan
    with pytest.raises(CollapsedError, match=r"scores of epoch 1 are not finite for 1 of 16 cutouts: .* cutout 2000$"):
        fit(seeded_network("resnet18", 1), (ring_part(32, 1), val), recipe(), lambda _: None)


class Recorder(Blind):
    """Counts how often each image is shown in training; images are told apart by their first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.shown += images[:, 0, 0, 0].round().int().tolist()
        return super().forward(images)


def numbered(n: int, n_positive: int) -> Part:
    images = torch.arange(float(n))[:, None, None, None].expand(n, 3, 4, 4).clone()
    labels = (torch.arange(n) < n_positive).float()
    return Part(images, labels, torch.ones(n), labels, torch.arange(n))


def test_sampling_shows_half_positives_and_each_member_equally_often(recipe: Recipe, ring_part: MakePart) -> None:
    network = Recorder()
    still = {"symmetries": False, "noise_mads": 0.0}
    one = recipe(epochs=1, epoch_images=60, augment=still, shuffle_labels=True)
    fit(network, (numbered(100, 10), ring_part(90, 2)), one, lambda _: None)
    counts = np.bincount(network.shown, minlength=100)
    assert (counts[:10] == 3).all()
    assert counts[10:].sum() == 30
    assert counts[10:].max() == 1


def test_without_balance_an_epoch_shows_every_cutout_once(recipe: Recipe, ring_part: MakePart) -> None:
    network = Recorder()
    still = {"symmetries": False, "noise_mads": 0.0}
    one = recipe(epochs=1, balance="none", augment=still, shuffle_labels=True)
    fit(network, (numbered(50, 10), ring_part(90, 2)), one, lambda _: None)
    assert sorted(network.shown) == list(range(50))


def test_weights_and_balance_enter_the_loss_as_stated(recipe: Recipe, ring_part: MakePart) -> None:
    labels = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    weights = torch.tensor([1.0, 0.5, 1.0, 1.0, 1.0, 1.0])
    part = Part(torch.zeros(6, 3, 4, 4), labels, weights, labels, torch.arange(6))
    epochs: list[EpochResult] = []
    for balance in ("none", "loss"):
        with pytest.raises(CollapsedError):
            fit(Constant(), (part, part), recipe(balance=balance, batch_size=6), epochs.append)
    # All logits are 0, so every image's loss is ln 2 times its weight; balanced, positives weigh 4 / 1.5 as much.
    assert epochs[0].train_loss == pytest.approx(np.log(2))
    assert epochs[1].train_loss == pytest.approx(np.log(2) * (1.5 * 4 / 1.5 + 4) / 5.5)


def test_the_learning_rate_warms_up_and_falls_along_a_cosine(recipe: Recipe, ring_part: MakePart) -> None:
    epochs: list[EpochResult] = []
    plan = recipe(
        epochs=4, batch_size=16, schedule="cosine", warmup_fraction=0.25, learning_rate=0.01, shuffle_labels=True
    )
    fit(Blind(), (ring_part(32, 1), ring_part(90, 2)), plan, epochs.append)
    # 8 steps, 2 of them warm-up.
    steps = [1 / 3, 2 / 3, *(0.5 * (1 + np.cos(np.pi * i / 6)) for i in range(6))]
    expected = 0.01 * np.array(steps).reshape(4, 2).mean(axis=1)
    np.testing.assert_allclose([row.learning_rate for row in epochs], expected)
