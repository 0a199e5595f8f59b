"""Interrupted, accumulated, compiled or in another precision: what must be the same is the same."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.arithmetic import precision_on
from training.batches import cut_pieces
from training.config import TrainConfig
from training.errors import CollapsedError, TrainingError
from training.fit import EpochResult, Fitted, Part, State, fit

Recipe = Callable[..., TrainConfig]
MakePart = Callable[[int, int], Part]
CPU = torch.device("cpu")


class Small(nn.Module):
    """A network with everything that makes a training hard to repeat: batch statistics and chance of its own."""

    def __init__(self, *, plain: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            first = nn.Conv2d(3, 8, 5, stride=2)
            middle: list[nn.Module] = [nn.ReLU()] if plain else [nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3)]
            self.layers = nn.Sequential(first, *middle, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 1))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out


class Written:
    """Keeps a training as bytes, so that nothing of it can change afterwards."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def recall(self) -> State | None:
        if not self.data:
            return None
        body = torch.load(io.BytesIO(self.data[-1]), weights_only=False)
        assert isinstance(body, State)
        return body

    def keep(self, state: State) -> None:
        stream = io.BytesIO()
        torch.save(state, stream)
        self.data.append(stream.getvalue())


def trained(
    recipe: TrainConfig, parts: tuple[Part, Part], memory: Written | None = None, stop_after: int | None = None
) -> tuple[Fitted, list[EpochResult]]:
    epochs: list[EpochResult] = []

    def on_epoch(row: EpochResult) -> None:
        epochs.append(row)
        if row.epoch == stop_after:
            raise KeyboardInterrupt

    return fit(Small(), parts, recipe, on_epoch, memory=memory), epochs


def rows(epochs: list[EpochResult]) -> list[tuple[Any, ...]]:
    return [tuple(value for name, value in vars(row).items() if name != "seconds") for row in epochs]


RICH = {
    "epochs": 6,
    "schedule": "cosine",
    "warmup_fraction": 0.1,
    "gradient_norm": 1.0,
    "micro_batch": 5,
    "patience": 2,
    "learning_rate": 0.01,
}


@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    recipe: Recipe, ring_part: MakePart, stop_after: int
) -> None:
    parts = (ring_part(50, 1), ring_part(30, 2))
    plan = recipe(**RICH | {"patience": 9})
    reference, memory = Written(), Written()
    whole, epochs = trained(plan, parts, reference)
    with pytest.raises(KeyboardInterrupt):
        trained(plan, parts, memory, stop_after)
    again, epochs_again = trained(plan, parts, memory)
    assert len(epochs) == 6
    assert rows(epochs_again) == rows(epochs)
    assert [row.seconds for row in epochs_again[:stop_after]] != [row.seconds for row in epochs[:stop_after]]
    assert rows([again.best]) == rows([whole.best])
    assert all(torch.equal(again.state[name], value) for name, value in whole.state.items())
    resumed, never_stopped = memory.recall(), reference.recall()
    assert resumed is not None
    assert never_stopped is not None
    assert all(torch.equal(resumed.network[name], value) for name, value in never_stopped.network.items())
    assert all(torch.equal(resumed.chance[name], value) for name, value in never_stopped.chance.items())


def test_a_training_that_was_stopped_after_its_end_trains_no_more(recipe: Recipe, ring_part: MakePart) -> None:
    parts = (ring_part(50, 1), ring_part(30, 2))
    plan = recipe(**RICH, shuffle_labels=True)  # patience 2
    memory = Written()
    whole, epochs = trained(plan, parts, memory)
    n_kept = len(memory.data)
    again, epochs_again = trained(plan, parts, memory)
    assert len(memory.data) == n_kept
    assert epochs_again == epochs
    assert again.best == whole.best


def test_another_seed_gives_other_chance_to_batches_images_and_layers(recipe: Recipe, ring_part: MakePart) -> None:
    parts = (ring_part(50, 1), ring_part(30, 2))
    kept = []
    for seed in (1, 2):
        memory = Written()
        trained(recipe(epochs=1, seed=seed), parts, memory)
        state = memory.recall()
        assert state is not None
        kept.append(state.chance)
    assert all(not torch.equal(kept[0][name], kept[1][name]) for name in ("batches", "images", "layers"))
    assert not torch.equal(kept[0]["batches"], kept[0]["images"])


def first_gradients(recipe: TrainConfig, train: Part, val: Part) -> dict[int, Tensor]:
    """Gradients of the first step: AdamW's running mean after it is a tenth of them."""
    memory = Written()
    fit(Small(plain=True), (train, val), recipe, lambda _: None, memory=memory)
    state = memory.recall()
    assert state is not None
    return {key: 10 * value["exp_avg"] for key, value in state.optimiser["state"].items()}


ONE_STEP = {"epochs": 1, "batch_size": 50, "balance": "none", "augment": {"symmetries": False, "noise_mads": 0.0}}


def test_gradients_are_the_same_in_one_piece_and_in_many(recipe: Recipe, ring_part: MakePart) -> None:
    train, val = ring_part(50, 1), ring_part(30, 2)
    train.weights[:] = torch.rand(50, generator=torch.Generator().manual_seed(3)) + 0.1
    whole = first_gradients(recipe(**ONE_STEP), train, val)
    network = Small(plain=True)
    output = network(train.images)[:, 0]
    losses = nn.functional.softplus(torch.where(train.labels > 0.5, -output, output)) * train.weights
    (losses.sum() / train.weights.sum()).backward()
    for key, parameter in enumerate(network.parameters()):
        torch.testing.assert_close(whole[key], parameter.grad, rtol=1e-3, atol=1e-6)
    for micro_batch in (7, 16, 49):
        pieces = first_gradients(recipe(**ONE_STEP, micro_batch=micro_batch), train, val)
        for key, value in whole.items():
            torch.testing.assert_close(pieces[key], value, rtol=1e-3, atol=1e-6)


def test_gradients_are_cut_to_the_norm_of_the_recipe(recipe: Recipe, ring_part: MakePart) -> None:
    parts = ring_part(50, 1), ring_part(30, 2)
    norms = [
        math.sqrt(sum(float(value.square().sum()) for value in first_gradients(plan, *parts).values()))
        for plan in (recipe(**ONE_STEP), recipe(**ONE_STEP, gradient_norm=0.01))
    ]
    assert norms[0] > 0.02
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("n", "batch_size", "micro_batch"), [(50, 16, None), (50, 16, 5), (33, 16, 2), (3, 3, 2), (9, 9, 8)]
)
def test_pieces_cover_their_batches_and_none_is_a_single_image(
    n: int, batch_size: int, micro_batch: int | None
) -> None:
    weights = torch.arange(1.0, n + 1)
    pieces = cut_pieces(weights, batch_size, micro_batch)
    shown = [place for piece in pieces for place in range(piece.first, piece.end)]
    n_shown = n - 1 if n % batch_size == 1 else n
    assert shown == list(range(n_shown))
    for piece in pieces:
        assert 2 <= piece.end - piece.first <= max(micro_batch or batch_size, 3)
        first = piece.first // batch_size * batch_size
        assert piece.batch_weight == float(weights[first : first + batch_size].sum())
        assert piece.ends_batch == (piece.end in (n_shown, first + batch_size))


def test_the_loss_compares_with_the_targets_and_the_auc_with_the_labels(recipe: Recipe) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            return images[:, :1, 0, 0] + self.shift

    answers = torch.linspace(-2, 2, 9)
    labels = (answers > 0.3).float()
    targets = torch.where(labels > 0.5, 0.8, 0.3)
    weights = torch.linspace(0.5, 1, 9)
    part = Part(answers[:, None, None, None].expand(9, 3, 4, 4).clone(), labels, weights, targets, torch.arange(9))
    plan = recipe(**ONE_STEP | {"batch_size": 9}, learning_rate=1e-9)
    p = 1 / (1 + np.exp(-answers.double().numpy()))
    t, w = targets.double().numpy(), weights.double().numpy()
    losses = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    epochs: list[EpochResult] = []
    fit(Fixed(), (part, part), plan, epochs.append)
    assert epochs[0].train_loss == pytest.approx((losses * w).sum() / w.sum(), rel=1e-6)
    assert epochs[0].val_loss == pytest.approx((losses * w).sum() / w.sum(), rel=1e-6)
    assert epochs[0].val_auc == 1.0
    balanced = plan.model_copy(update={"balance": "loss"})
    fit(Fixed(), (part, part), balanced, epochs.append)
    heed = np.where(labels.numpy() == 1, w * (w[labels == 0].sum() / w[labels == 1].sum()), w)
    assert epochs[1].train_loss == pytest.approx((losses * heed).sum() / w.sum(), rel=1e-6)


def test_the_learning_rate_is_halved_where_the_recipe_says(recipe: Recipe, ring_part: MakePart) -> None:
    plan = recipe(epochs=4, batch_size=16, halve_at=(0.5, 0.75), learning_rate=0.01, shuffle_labels=True)
    epochs = trained(plan, (ring_part(32, 1), ring_part(30, 2)))[1]  # 8 steps
    assert [row.learning_rate for row in epochs] == pytest.approx([0.01, 0.01, 0.005, 0.0025])


def test_bf16_is_computed_in_bf16_where_the_machine_can_and_the_weights_stay_float32(
    recipe: Recipe, ring_part: MakePart
) -> None:
    class Told(Small):
        dtypes: set[torch.dtype] = set()  # noqa: RUF012 - shared on purpose

        def forward(self, images: Tensor) -> Tensor:
            out = super().forward(images)
            if self.training:
                self.dtypes.add(out.dtype)
            return out

    parts = ring_part(50, 1), ring_part(30, 2)
    plan = recipe(epochs=2, precision="bf16", learning_rate=0.01)
    done = fit(Told(), parts, plan, lambda _: None)
    expected = torch.bfloat16 if precision_on(CPU, plan.precision) == "bf16" else torch.float32
    assert Told.dtypes == {expected}
    assert {value.dtype for name, value in done.state.items() if name.endswith(("weight", "bias"))} == {torch.float32}
    assert math.isfinite(done.best.train_loss)


def test_a_compiled_network_learns_the_same_weights_under_the_same_names(
    recipe: Recipe, ring_part: MakePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without code generation, so that no compiler is needed.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    parts = ring_part(50, 1), ring_part(30, 2)
    plan = recipe(epochs=2)
    plain, compiled = (trained(one, parts)[0] for one in (plan, plan.model_copy(update={"compile": True})))
    assert plain.state.keys() == compiled.state.keys()
    for name, value in plain.state.items():
        torch.testing.assert_close(compiled.state[name], value)


def test_a_network_that_cannot_be_compiled_is_one_line_that_says_what_to_do(
    recipe: Recipe, ring_part: MakePart, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_graph: object, _inputs: object) -> Callable[..., Any]:
        raise RuntimeError("no C++ compiler\nsecond line")

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=broken))
    with pytest.raises(TrainingError, match=r"cannot be compiled here .*set `compile: false`") as caught:
        trained(recipe(epochs=1, compile=True), (ring_part(50, 1), ring_part(30, 2)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wanted", [True, False])
def test_repeatable_operations_are_asked_for_only_where_the_recipe_wants_them(
    recipe: Recipe, ring_part: MakePart, wanted: bool
) -> None:
    seen: set[bool] = set()

    class Told(Small):
        def forward(self, images: Tensor) -> Tensor:
            seen.add(torch.are_deterministic_algorithms_enabled())
            return super().forward(images)

    fit(Told(), (ring_part(50, 1), ring_part(30, 2)), recipe(epochs=1, deterministic=wanted), lambda _: None)
    assert seen == {wanted}
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_collapse_is_not_kept(recipe: Recipe, ring_part: MakePart) -> None:
    class Deaf(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            return self.bias.expand(len(images), 1)

    memory = Written()
    with pytest.raises(CollapsedError):
        fit(Deaf(), (ring_part(50, 1), ring_part(30, 2)), recipe(), lambda _: None, memory=memory)
    assert memory.data == []
