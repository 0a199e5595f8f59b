"""The recipes that the project ships: each is read, and its network takes what it would be shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from db.config import load_config
from db.settings import CHECKOUT
from training.augment import augment
from training.config import TrainConfig
from training.model import n_parameters, seeded_network
from training.preprocess import preprocess

FOLDER = CHECKOUT / "training" / "configs"
RECIPES = sorted(FOLDER.glob("*.yaml"))
N_PARAMETERS = {"resnet18": 11_177_025, "shielded_resnet": 193_697, "efficientnet_v2_s": 20_178_769}


def recipe_of(path: Path) -> TrainConfig:
    return load_config(TrainConfig, path)


def test_there_is_a_recipe_of_every_architecture_and_no_two_make_models_of_one_name() -> None:
    recipes = [recipe_of(path) for path in RECIPES]
    assert {recipe.architecture for recipe in recipes} == set(N_PARAMETERS)
    assert len({recipe.name for recipe in recipes}) == len(recipes) >= 5


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_gradients_reach_all_of_the_network_of_every_recipe(path: Path) -> None:
    recipe = recipe_of(path)
    cutouts = np.random.default_rng(1).normal(0, 0.02, (2, 101, 101, 3)).astype(np.float32)
    images = torch.from_numpy(preprocess(cutouts, recipe.preprocessing))
    assert images.shape[-1] == recipe.preprocessing.crop_px
    network = seeded_network(recipe.architecture, recipe.seed).train()
    assert n_parameters(network) == N_PARAMETERS[recipe.architecture]
    output = network(augment(images, torch.Generator().manual_seed(1), recipe.augment))
    assert output.shape == (2, 1)
    output.sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", ["shielded_resnet", "demo_shielded"])
def test_the_loss_of_the_small_network_falls_at_the_rate_of_its_recipe(name: str) -> None:
    recipe = recipe_of(FOLDER / f"{name}.yaml")
    rng = np.random.default_rng(2)
    cutouts = rng.normal(0, 0.02, (16, 101, 101, 3)).astype(np.float32)
    cutouts[:8, 40:61, 40:61] += 0.1  # positives: a bright square
    images = torch.from_numpy(preprocess(cutouts, recipe.preprocessing))
    targets = (torch.arange(16) < 8).float()
    network = seeded_network(recipe.architecture, recipe.seed).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    chance = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(15):
        output = network(augment(images, chance, recipe.augment)).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_recipes_keep_what_they_were_asked_for() -> None:
    baseline, shielded, large = (recipe_of(FOLDER / f"{name}.yaml") for name in N_PARAMETERS)
    assert (baseline.preprocessing.crop_px, baseline.batch_size, baseline.patience) == (64, 256, 10)
    assert baseline.learning_rate == 3e-4
    rules = large.preprocessing
    assert (rules.crop_px, rules.annulus_inner_px, rules.annulus_outer_px) == (101, 32.5, 45)
    assert (large.batch_size, large.epochs, large.learning_rate) == (512, 160, 3.88e-4)
    assert large.micro_batch is not None
    assert large.batch_size % large.micro_batch == 0
    assert all(fraction > 0.5 for fraction in large.halve_at)
    assert len(large.halve_at) > 0
    assert shielded.preprocessing == baseline.preprocessing


def test_the_recipe_of_a_large_gpu_differs_from_the_baseline_in_how_it_is_trained_only() -> None:
    baseline, fast = (recipe_of(FOLDER / f"{name}.yaml").model_dump() for name in ("resnet18", "resnet18_gpu"))
    assert {key for key in baseline if baseline[key] != fast[key]} == {
        "name", "batch_size", "learning_rate", "warmup_fraction", "precision", "compile", "deterministic"
    }  # fmt: skip
    steps = fast["batch_size"] / baseline["batch_size"]
    assert fast["learning_rate"] == pytest.approx(baseline["learning_rate"] * steps**0.5, rel=0.01)
