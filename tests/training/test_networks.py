from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint
from training.config import Architecture, InitialWeights
from training.errors import CheckpointError, TrainingError
from training.model import build_network, embeddings, logits, n_parameters, seeded_network
from training.networks.last_layer import embed, last_linear
from training.preprocess import Preprocessing
from training.scoring.scorer import Scorer

EVERY = get_args(Architecture)
SIZE = {"resnet18": 32, "shielded_resnet": 32, "efficientnet_v2_s": 33}


def images_of(architecture: str, n: int = 4) -> Tensor:
    size = SIZE[architecture]
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def weights_file(folder: Path, body: object) -> InitialWeights:
    stream = io.BytesIO()
    torch.save(body, stream)
    file = folder / "weights.pth"
    file.write_bytes(stream.getvalue())
    return InitialWeights(path=file, sha256=hashlib.sha256(stream.getvalue()).hexdigest())


@pytest.mark.parametrize("architecture", EVERY)
def test_every_architecture_gives_one_logit_from_weights_that_the_seed_decides(architecture: str) -> None:
    before = torch.random.get_rng_state()
    one, two, other = (seeded_network(architecture, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    images = images_of(architecture)
    answers = [logits(network, images) for network in (one, two, other)]
    assert answers[0].shape == (4,)
    assert torch.isfinite(answers[0]).all()
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])
    filters = next(weight for weight in one.parameters() if weight.ndim == 4 and weight.shape[-1] > 1)
    assert filters.is_contiguous(memory_format=torch.channels_last)


def test_the_number_of_parameters_is_the_published_one_or_near_it() -> None:
    # Tan & Le 2021 by way of torchvision: 21,458,488 with 1,000 classes on 1,280 features.
    assert n_parameters(build_network("efficientnet_v2_s")) == 21_458_488 - 999 * 1281
    shielded = n_parameters(build_network("shielded_resnet"))
    assert shielded == 193_697
    assert abs(shielded / 194_433 - 1) < 0.005  # Huang et al. 2021


def test_an_unknown_architecture_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(TrainingError, match=r"'vgg' is not known.*resnet18, shielded_resnet, efficientnet_v2_s"):
        build_network("vgg")


@pytest.mark.parametrize("architecture", EVERY)
def test_the_logit_is_the_last_layer_of_the_embedding(architecture: str) -> None:
    network, images = seeded_network(architecture, 1), images_of(architecture, 5)
    found = embeddings(network, images, batch_size=2)
    _, last = last_linear(network)
    assert found.shape == (5, last.in_features)
    assert not network.training
    weight, bias = (value.detach().numpy() for value in (last.weight, last.bias))
    np.testing.assert_allclose((found.numpy() @ weight.T + bias)[:, 0], logits(network, images).numpy(), atol=1e-5)
    assert not last._forward_pre_hooks
    assert embeddings(network, images[:0]).shape == (0, last.in_features)


def test_embeddings_are_those_before_the_last_layer_of_several() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 1))
    images = torch.randn(3, 3, 2, 2)
    assert torch.equal(embed(network, images), network[2](network[1](network[0](images))))
    with pytest.raises(TypeError, match="no linear layer"):
        last_linear(nn.Sequential(nn.Flatten()))


def test_logits_in_bf16_are_near_those_in_float32_and_do_not_tie() -> None:
    network, images = seeded_network("shielded_resnet", 1), images_of("shielded_resnet", 64)
    exact, short = logits(network, images), logits(network, images, precision="bf16")
    assert short.dtype == torch.float32
    assert np.corrcoef(short.numpy(), exact.numpy())[0, 1] > 0.99
    assert len(short.unique()) == 64
    assert not torch.equal(short.bfloat16().float(), short)


def test_a_scorer_on_a_cpu_computes_in_float32_whatever_its_recipe_says() -> None:
    network, images = seeded_network("shielded_resnet", 1), images_of("shielded_resnet", 5)
    scorer = Scorer.of(network.train(), Preprocessing(), "bf16")
    assert (scorer.precision, scorer.batch_size) == ("float32", 512)
    assert np.array_equal(scorer.score_images(images), logits(network, images).double().sigmoid().numpy())


def test_a_scorer_in_bf16_scores_near_float32_and_alike_with_and_without_embeddings() -> None:
    network, images = seeded_network("shielded_resnet", 1), images_of("shielded_resnet", 40)
    exact = Scorer(network.eval(), Preprocessing()).score_images(images)
    short = Scorer(network, Preprocessing(), "bf16", 16)
    scores, vectors = short.score_and_embed(images)
    assert np.array_equal(scores, short.score_images(images))
    np.testing.assert_allclose(scores, exact, atol=0.01)
    assert not np.array_equal(scores, exact)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("architecture", EVERY)
def test_initial_weights_as_torchvision_gives_them_replace_all_but_the_last_layer(
    architecture: str, tmp_path: Path
) -> None:
    donor = seeded_network(architecture, 9)
    name, last = last_linear(donor)
    given = {key: value for key, value in donor.state_dict().items() if not key.endswith("num_batches_tracked")}
    given |= {f"{name}.weight": torch.zeros(1000, last.in_features), f"{name}.bias": torch.zeros(1000)}
    started = seeded_network(architecture, 1, weights_file(tmp_path, given)).state_dict()
    plain = seeded_network(architecture, 1).state_dict()
    for key, value in started.items():
        expected = plain if key.startswith(f"{name}.") else donor.state_dict()
        assert torch.equal(value, expected[key]), key


def test_a_checkpoint_of_ours_is_a_file_of_initial_weights_for_its_own_architecture(tmp_path: Path) -> None:
    donor = seeded_network("shielded_resnet", 9)
    checkpoint = Checkpoint(
        name="donor",
        architecture="shielded_resnet",
        bands="grz",
        preprocessing=Preprocessing(),
        config={},
        manifest_sha256="ab" * 32,
        epoch=1,
        state=donor.state_dict(),
    )
    file = tmp_path / "checkpoint.pt"
    for body in (checkpoint, replace(checkpoint, state={})):
        file.write_bytes(body.to_bytes())
        known = InitialWeights(path=file, sha256=hashlib.sha256(body.to_bytes()).hexdigest())
        if body.state:
            started = seeded_network("shielded_resnet", 1, known)
            assert torch.equal(started.get_parameter("stem.weight"), donor.get_parameter("stem.weight"))
            assert not torch.equal(started.get_parameter("head.weight"), donor.get_parameter("head.weight"))
        with pytest.raises(CheckpointError, match="another network"):
            seeded_network("resnet18", 1, known)


def test_initial_weights_with_names_that_are_no_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="another network"):
        seeded_network("shielded_resnet", 1, weights_file(tmp_path, {1: torch.zeros(1)}))
