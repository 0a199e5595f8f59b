"""A training that cannot go on says which cutouts are to blame."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training import fit as fit_module
from training.config import TrainConfig
from training.errors import CollapsedError
from training.fit import Part, fit

Recipe = Callable[..., TrainConfig]
STILL = {"symmetries": False, "noise_mads": 0.0}


class Mean(nn.Module):
    """Answers with a learnt multiple of the mean pixel, each image for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * images.mean(dim=(1, 2, 3))[:, None]


class Rectified(Mean):
    """Turns a pixel of minus infinity into a plain zero."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.relu())


class Normed(Mean):
    """One bad image spoils the answers to all images of its batch."""

    def forward(self, images: Tensor) -> Tensor:
        answers = super().forward(images)
        return answers - answers.mean() if self.training else answers


def noise_part(n: int, seed: int) -> Part:
    images = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    labels = (torch.arange(n) % 3 == 0).float()
    images += labels[:, None, None, None]
    return Part(images, labels, torch.ones(n), labels, 500 + torch.arange(n))


def message(network: nn.Module, parts: tuple[Part, Part], recipe: TrainConfig) -> str:
    with pytest.raises(CollapsedError) as caught:
        fit(network, parts, recipe, lambda _: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("network", [Mean, Rectified, Normed])
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("look_every", [1, 50])
def test_an_image_that_is_not_finite_is_named_even_where_the_loss_hides_it(
    recipe: Recipe, network: type[nn.Module], value: float, look_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = noise_part(64, 1)
    train.images[37, 2, 1, 1] = value
    monkeypatch.setattr(fit_module, "_look_every", lambda _device: look_every)
    said = message(network(), (train, noise_part(30, 2)), recipe(balance="none", augment=STILL))
    assert said.startswith("cutout 537 has pixels that are not finite")


def test_ten_cutouts_are_named_and_the_others_counted(recipe: Recipe) -> None:
    train = noise_part(64, 1)
    train.images[:13, 0] = torch.nan
    said = message(Mean(), (train, noise_part(30, 2)), recipe(balance="none", batch_size=64, augment=STILL))
    named = said.removeprefix("cutouts ").partition(" and 3 more have pixels")[0].split(", ")
    assert len(set(named)) == 10
    assert set(named) <= {str(500 + row) for row in range(13)}


def test_an_absurd_but_finite_image_is_named_when_the_loss_is_no_longer_finite(recipe: Recipe) -> None:
    train = noise_part(64, 1)
    train.images[20] = 3e38 * 0.9
    train.images[20, :, ::2] *= -1  # its mean is fine, its square is not

    class Square(Mean):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images * images)

    said = message(Square(), (train, noise_part(30, 2)), recipe(balance="none", augment=STILL))
    assert said.startswith("the loss became inf in epoch 1: lower learning_rate")
    assert said.endswith("or look at cutout 520 (the most extreme pixels first)")


def test_an_image_that_spoils_its_batch_is_named_first(recipe: Recipe) -> None:
    train = noise_part(64, 1)
    train.images[20] = 1e38
    train.images[20, :, ::2] *= -1

    class SquareNormed(Normed):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images * images)

    said = message(SquareNormed(), (train, noise_part(30, 2)), recipe(balance="none", augment=STILL))
    assert "look at cutouts 520, " in said


def test_validation_names_the_cutouts_whose_scores_are_not_finite(recipe: Recipe) -> None:
    val = noise_part(30, 2)
    val.images[4] = torch.nan
    val.images[9] = torch.inf
    said = message(Mean(), (noise_part(64, 1), val), recipe(balance="none"))
    assert said.startswith("the validation scores of epoch 1 are not finite for 2 of 30 cutouts")
    assert said.endswith("look at cutouts 504, 509")
