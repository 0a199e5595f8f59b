"""The benchmark of training measures what it says: its peer trains, its constant costs nothing, its parts run."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from tests.bench.train import gpu, loop, statistics
from tests.bench.train.bare_loop import images_per_second
from tests.bench.train.made_scores import made_scores
from tests.bench.train.sizes import Sizes, tiny


def test_the_bare_loop_moves_the_weights() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.LazyLinear(1))
    images, targets = torch.randn(8, 3, 9, 9), torch.arange(8).remainder(2).float()
    network(images)
    before = [parameter.clone() for parameter in network.parameters()]
    assert images_per_second(network, images, targets, 3, is_bf16=False) > 0
    assert all((new != old).any() for new, old in zip(network.parameters(), before, strict=True))


def test_constant_images_are_as_many_as_were_asked_for() -> None:
    images = loop.Constant(torch.zeros(16, 3, 4, 4), 100)
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
    objects = made_scores(Sizes(n_scores=20_000, n_positives=2000, n_cells=100))
    assert len(objects) == 20_000
    assert objects.label.sum() == 2000
    assert objects.score[objects.label == 1].mean() > objects.score[objects.label == 0].mean() + 0.3
