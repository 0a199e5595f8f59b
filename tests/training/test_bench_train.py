"""The benchmark of training measures what it says: its peer trains, its constant costs nothing, its parts run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from tests.bench.train import card, gpu, loop, statistics, ways
from tests.bench.train.bare_loop import How, images_per_second
from tests.bench.train.made_scores import made_scores
from tests.bench.train.sizes import Sizes, tiny
from training.preprocess import Preprocessing
from training.scaling import scaled

CPU = torch.device("cpu")


def test_the_bare_loop_moves_the_weights() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.LazyLinear(1))
    images, targets = torch.randn(8, 3, 9, 9), torch.arange(8).remainder(2).float()
    network(images)
    before = [parameter.clone() for parameter in network.parameters()]
    rates = images_per_second(network, images, targets, How(n_blocks=2, n_steps=3))
    assert len(rates) == 2
    assert min(rates) > 0
    assert all((new != old).any() for new, old in zip(network.parameters(), before, strict=True))


def test_constant_images_are_as_many_as_were_asked_for() -> None:
    images = ways.Constant(torch.zeros(16, 3, 4, 4), 100)
    assert len(images) == 100
    assert len(images[torch.arange(5)]) == len(images[slice(95, 100)]) == 5


def test_every_part_gives_its_measures(tmp_path: Path) -> None:
    quiet = Console(quiet=True)
    names = [measure.name for measure in loop.measure(tmp_path, tiny(), quiet)]
    assert "shielded_resnet: pack over constant" in names
    assert len(names) == 5
    assert [measure.unit for measure in statistics.measure(tmp_path, tiny(), quiet)] == ["s", "s"]
    if not torch.cuda.is_available():
        assert gpu.measure(tmp_path, tiny(), quiet) == []


def test_made_scores_are_as_many_as_the_survey_and_separate_the_classes() -> None:
    objects = made_scores(Sizes(n_scores=20_000, n_positives=2000), 100)
    assert len(objects) == 20_000
    assert objects.label.sum() == 2000
    assert objects.score[objects.label == 1].mean() > objects.score[objects.label == 0].mean() + 0.3


def test_the_bench_of_a_gpu_runs_on_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "PROFILE", tmp_path / "profile.txt")
    sizes = Sizes(n_on_gpu=64, n_repeats=1)
    recipe = gpu.recipe_of(sizes)
    assert (recipe.precision, recipe.compile, recipe.deterministic, recipe.batch_size) == ("bf16", True, False, 32)
    small = {"architecture": "shielded_resnet", "precision": "float32", "compile": False, "batch_size": 16}
    found = gpu.measured_on(CPU, recipe.model_copy(update=small), sizes, Console(width=300))
    by_name = {measure.name: measure for measure in found}
    assert "shielded_resnet on the card, not compiled: pack over constant" in by_name
    assert by_name["scored in float32, resident pack"].value > 0
    assert all(measure.value > 0 for measure in found)
    profile = (tmp_path / "profile.txt").read_text()
    for operation in ("convolution_backward", "fused_adamw"):  # the real loop's, to its last step
        assert operation in profile
    assert profile.splitlines()[3] in capsys.readouterr().out


def test_resident_noise_is_scaled_by_its_own_statistics() -> None:
    rules = Preprocessing(pixel_dtype="float16")
    images = gpu.resident(3, rules, CPU)
    assert images.pixels.shape == (3, 64, 64, 3)
    assert images[slice(0, 3)].std() == pytest.approx(1.48, abs=0.1)  # in units of the MAD
    assert torch.equal(images[slice(1, 2)], scaled(images.pixels[1:2], (images.median[1:2], images.mad[1:2]), rules))


def test_the_work_and_traffic_of_a_layer_are_those_of_its_sizes() -> None:
    layer = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1))
    batch = torch.randn(4, 3, 2, 2)
    assert card.flop_per_image(layer, batch) == 2 * 12 * 2  # forward, and back to the weights; none to the images
    assert card.estimated_bytes_per_image(layer, batch) == (12 + 12 + 12 + 1) * 2 * 3
