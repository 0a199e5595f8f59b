from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoint import Checkpoint, read_checkpoint
from training.config import InitialWeights
from training.errors import CheckpointError
from training.model import n_parameters, seeded_network
from training.preprocess import Preprocessing


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint(
        name="tiny",
        architecture="resnet18",
        bands="grz",
        preprocessing=Preprocessing(crop_px=48, annulus_outer_px=24),
        config={"epochs": 3, "nested": {"x": None}},
        manifest_sha256="ab" * 32,
        epoch=2,
        state=seeded_network("resnet18", 1).state_dict(),
    )


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def body(checkpoint: Checkpoint, **changes: object) -> dict[str, Any]:
    return torch.load(io.BytesIO(checkpoint.to_bytes()), weights_only=True) | changes


def test_a_checkpoint_comes_back_as_it_was(checkpoint: Checkpoint) -> None:
    back = read_checkpoint(checkpoint.to_bytes(), "here.pt")
    assert {**vars(back), "state": 0} == {**vars(checkpoint), "state": 0}
    assert back.state.keys() == checkpoint.state.keys()
    assert all(torch.equal(back.state[name], value) for name, value in checkpoint.state.items())


def test_the_same_checkpoint_has_the_same_bytes(checkpoint: Checkpoint) -> None:
    assert checkpoint.to_bytes() == checkpoint.to_bytes()


def test_a_truncated_empty_or_foreign_file_is_named(checkpoint: Checkpoint) -> None:
    data = checkpoint.to_bytes()
    for damaged in (data[: len(data) // 2], data[:100], b"", b"hello", pickle.dumps({"a": 1}, protocol=2)):
        with pytest.raises(CheckpointError, match=r"^here\.pt: ") as caught:
            read_checkpoint(damaged, "here.pt")
        assert "\n" not in str(caught.value)


def test_a_file_that_would_run_code_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    with pytest.raises(CheckpointError):
        read_checkpoint(saved({"format": Malicious()}), "here.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "not a checkpoint of stronglens"),
        ({"format_version": 99}, "version 99"),
        ({"surplus": 1}, "another layout"),
        ({"preprocessing": {"crop_px": -1}}, "another layout"),
        ({"bands": "zrg"}, "contradicts itself"),
        ({"state": [1]}, "contradicts itself"),
    ],
)
def test_another_layout_is_refused(checkpoint: Checkpoint, changes: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(saved(body(checkpoint, **changes)), "here.pt")


def test_a_checkpoint_without_a_key_or_that_is_a_list_is_refused(checkpoint: Checkpoint) -> None:
    lacking = body(checkpoint)
    del lacking["state"]
    for value in (lacking, [1, 2], torch.zeros(3)):
        with pytest.raises(CheckpointError):
            read_checkpoint(saved(value), "here.pt")


def test_resnet18_has_the_published_number_of_parameters() -> None:
    # He et al. 2016: 11,689,512 with 1,000 classes; one logit instead saves 999 rows of 512 weights and a bias.
    assert n_parameters(seeded_network("resnet18", 0)) == 11_689_512 - 999 * 513


def test_initial_weights_replace_all_but_the_last_layer(tmp_path: Path) -> None:
    donor = seeded_network("resnet18", 9).state_dict()
    file = tmp_path / "weights.pth"
    file.write_bytes(saved(donor | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}))
    known = InitialWeights(path=file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    state = seeded_network("resnet18", 1, known).state_dict()
    assert torch.equal(state["conv1.weight"], donor["conv1.weight"])
    assert torch.equal(state["fc.weight"], seeded_network("resnet18", 1).state_dict()["fc.weight"])


def test_initial_weights_that_are_missing_altered_or_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    with pytest.raises(CheckpointError, match="cannot be read"):
        seeded_network("resnet18", 1, InitialWeights(path=file, sha256="0" * 64))
    file.write_bytes(saved({"conv1.weight": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="SHA-256"):
        seeded_network("resnet18", 1, InitialWeights(path=file, sha256="0" * 64))
    known = InitialWeights(path=file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    with pytest.raises(CheckpointError, match="another network"):
        seeded_network("resnet18", 1, known)


def test_initial_weights_of_our_own_from_another_manifest_are_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """They may have been taught what this manifest's test split, or a fold that is held out, holds."""
    file = tmp_path / "ours.pt"
    file.write_bytes(checkpoint.to_bytes())
    known = InitialWeights(path=file, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    started = seeded_network("resnet18", 1, known, checkpoint.manifest_sha256).state_dict()
    assert torch.equal(started["conv1.weight"], checkpoint.state["conv1.weight"])
    with pytest.raises(CheckpointError, match="trained on another manifest"):
        seeded_network("resnet18", 1, known, "f" * 64)
