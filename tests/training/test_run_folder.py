"""A run's folder: what it holds, how it is gone on with, and what is refused."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet

from db.errors import BusyError
from db.settings import CHECKOUT
from tests.training.runs import ring_job
from tests.training.train_and_die import RECIPE
from training.checkpoint import read_checkpoint
from training.config import TrainConfig
from training.errors import CheckpointError, CollapsedError, ManifestError, RunError
from training.fit import EpochResult
from training.model import build_network
from training.run.folder import claimed
from training.run.read import open_run
from training.run.work import Job, mark_imported, train_in

Recipe = Callable[..., TrainConfig]
RingCutouts = Callable[[int, int], Any]
FILES = ["checkpoint.pt", "epochs.jsonl", "run.json", "scores.parquet"]


@pytest.fixture
def quick(recipe: Recipe) -> Recipe:
    """A recipe of one small epoch that is not blamed for learning nothing."""
    return lambda **keys: recipe(**({"epochs": 1, "epoch_images": 16, "shuffle_labels": True} | keys))


def interrupt_after(last: int) -> Callable[[EpochResult], None]:
    def on_epoch(row: EpochResult) -> None:
        if row.epoch == last:
            raise KeyboardInterrupt

    return on_epoch


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint((folder / "checkpoint.pt").read_bytes(), "checkpoint.pt").state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(other[name], value) for name, value in one.items())


def test_a_run_holds_its_weights_epochs_and_a_score_of_every_cutout_and_says_what_it_was(
    quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path
) -> None:
    recipe = quick(epochs=2)
    job = ring_job(recipe, ring_cutouts)
    run, was_there = train_in(tmp_path / "run", job)
    assert not was_there
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES
    body = json.loads((tmp_path / "run" / "run.json").read_text())
    assert body["recipe"] == recipe.model_dump(mode="json")
    assert body["manifest"]["sha256"] == job.manifest.digest()
    assert (body["manifest"]["draw"], body["manifest"]["n_cutouts"]) == ("rings", 60)
    assert (body["n_train"], body["n_val"], body["n_parameters"]) == (30, 15, 11_689_512 - 999 * 513)
    assert body["environment"]["torch_version"] == torch.__version__
    assert (body["environment"]["device"], body["environment"]["precision"]) == ("cpu", "float32")
    for name, seal in body["files"].items():
        assert hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest() == seal["sha256"]
    assert set(body["files"]) | {"run.json"} == set(FILES)
    assert body["best_epoch"] == max(run.epochs, key=lambda row: row.val_auc).epoch

    network = build_network("resnet18")
    network.load_state_dict(weights_of(tmp_path / "run"))
    with torch.inference_mode():
        images = job.source().images(job.manifest, lambda *_: None)
        direct = network.eval()(images)[:, 0].double().sigmoid()
    table = parquet.read_table(tmp_path / "run" / "scores.parquet")
    assert table["cutout_id"].to_pylist() == job.manifest.cutout_id.tolist()
    assert table["split"].to_pylist() == job.manifest.split.tolist()
    np.testing.assert_allclose(table["score"].to_numpy(), direct.numpy(), atol=1e-6)


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    ring_cutouts: RingCutouts, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.training.train_and_die", str(tmp_path / "run"), "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    died = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (tmp_path / "run" / "resume.pt").exists()
    with pytest.raises(RunError, match="has not finished: start the same `stronglens train` again"):
        open_run(tmp_path / "run")
    resumed, was_there = train_in(tmp_path / "run", ring_job(RECIPE, ring_cutouts))
    assert not was_there
    whole, _ = train_in(tmp_path / "whole", ring_job(RECIPE, ring_cutouts))
    assert same(weights_of(tmp_path / "run"), weights_of(tmp_path / "whole"))
    assert epochs_of(tmp_path / "run") == epochs_of(tmp_path / "whole")
    assert len(epochs_of(tmp_path / "run")) == 3
    for name in ("checkpoint.pt", "scores.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (resumed.description.resumed_after, whole.description.resumed_after) == ((2,), ())
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES


def test_a_training_that_is_done_is_left_alone_and_another_never_takes_its_place(
    quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    train_in(folder, ring_job(quick(), ring_cutouts))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def never(*_: object) -> None:
        raise AssertionError("nothing is to be done")

    done, was_there = train_in(folder, ring_job(quick(accept_gate="any"), ring_cutouts), never, never)
    assert was_there
    assert done.checkpoint.epoch == 1
    for other in (
        ring_job(quick(seed=1), ring_cutouts),
        ring_job(quick(), ring_cutouts, weight=np.linspace(0.5, 1, 60).astype(np.float32)),
        ring_job(quick(), ring_cutouts, sha256=np.array([f"{number:063x}f" for number in range(60)])),
    ):
        with pytest.raises(RunError, match="finished training of another recipe or manifest: take it in with"):
            train_in(folder, other)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    mark_imported(folder)  # a database has it: the folder is free
    run, was_there = train_in(folder, ring_job(quick(seed=1), ring_cutouts))
    assert not was_there
    assert run.description.recipe.seed == 1
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_what_another_recipe_or_manifest_left_unfinished_is_not_gone_on_with(
    quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = {
        "seed": ring_job(quick(seed=1), ring_cutouts),
        "weight": ring_job(quick(), ring_cutouts, weight=np.linspace(0.5, 1, 60).astype(np.float32)),
    }
    for name, job in others.items():
        folder = tmp_path / name
        with pytest.raises(KeyboardInterrupt):
            train_in(folder, ring_job(quick(epochs=2), ring_cutouts), on_epoch=interrupt_after(1))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            run, _ = train_in(folder, job)
        assert "of another recipe, manifest or device: the training starts anew" in caplog.text
        assert run.description.resumed_after == ()
        alone, _ = train_in(tmp_path / f"{name} alone", job)
        assert same(run.checkpoint.state, alone.checkpoint.state)


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "foreign"])
def test_an_interrupted_training_that_is_damaged_is_named_with_what_to_do(
    quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path, damage: str
) -> None:
    folder, job = tmp_path / "run", ring_job(quick(epochs=2), ring_cutouts)
    with pytest.raises(KeyboardInterrupt):
        train_in(folder, job, on_epoch=interrupt_after(1))
    resume = folder / "resume.pt"
    data = resume.read_bytes()
    middle = len(data) // 2
    damaged = {
        "truncated": data[:middle],
        "empty": b"",
        "flipped": data[:middle] + bytes(byte ^ 255 for byte in data[middle : middle + 64]) + data[middle + 64 :],
        "foreign": b"PK something else",
    }
    resume.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match=r"resume\.pt: an interrupted training .* remove the file to start anew"):
        train_in(folder, job)
    resume.unlink()
    run, _ = train_in(folder, job)
    assert run.description.resumed_after == ()
    assert len(run.epochs) == 2


@pytest.mark.parametrize("name", FILES)
def test_a_run_with_a_damaged_or_missing_file_is_refused_in_one_line(finished: Path, tmp_path: Path, name: str) -> None:
    path = finished / name
    data = path.read_bytes()
    middle = len(data) // 2
    try:
        for damaged in (data[:-9], data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :], b"", None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(RunError) as caught:
                open_run(finished)
            assert "\n" not in str(caught.value)
            assert name in str(caught.value)
    finally:
        path.write_bytes(data)
    open_run(finished)


@pytest.fixture
def finished(quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path) -> Path:
    train_in(tmp_path / "run", ring_job(quick(), ring_cutouts))
    return tmp_path / "run"


def test_files_of_two_runs_do_not_pass_for_one(
    finished: Path, quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path
) -> None:
    train_in(tmp_path / "other", ring_job(quick(seed=1), ring_cutouts))
    body = json.loads((finished / "run.json").read_text())
    foreign = json.loads((tmp_path / "other" / "run.json").read_text())
    # Sealed again by hand, so that only what the files say of each other can tell.
    from db.provenance import canonical_config
    from training.run.layout import RunDescription
    from training.run.read import SEAL_KEY

    del body[SEAL_KEY]
    body["files"] = foreign["files"]
    RunDescription.model_validate(body)
    (finished / "run.json").write_text(json.dumps(body | {SEAL_KEY: canonical_config(body)[0]}))
    for name in foreign["files"]:
        (finished / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(RunError, match=r"its checkpoint is that of another run than run\.json describes"):
        open_run(finished)


def test_a_folder_of_other_things_is_left_as_it_is(quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    job = ring_job(quick(), ring_cutouts)
    with pytest.raises(RunError, match="is there already and is no run folder"):
        train_in(tmp_path / "notes", job)
    with pytest.raises(RunError, match="cannot be written"):
        train_in(tmp_path / "notes" / "mine.txt", job)
    with pytest.raises(RunError, match=r"is no run folder \(run\.json is not there\)"):
        open_run(tmp_path / "notes")
    with pytest.raises(RunError, match=r"is no run folder"):
        open_run(tmp_path / "nowhere")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_nothing_is_left_of_a_training_that_could_not_begin(
    quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path
) -> None:
    def no_pixels() -> Any:
        raise ManifestError("cutout 3 is gone")

    job = ring_job(quick(), ring_cutouts)
    with pytest.raises(ManifestError):
        train_in(tmp_path / "run", Job(job.recipe, job.manifest, no_pixels))
    assert not (tmp_path / "run").exists()


def test_two_processes_do_not_train_in_one_folder(quick: Recipe, ring_cutouts: RingCutouts, tmp_path: Path) -> None:
    with claimed(tmp_path / "run"):
        with pytest.raises(BusyError, match="another process trains in"):
            train_in(tmp_path / "run", ring_job(quick(), ring_cutouts))
        assert (tmp_path / "run").is_dir()  # it is the first one's, however empty


def test_a_collapsed_training_starts_anew(recipe: Recipe, ring_cutouts: RingCutouts, tmp_path: Path) -> None:
    blank = ring_job(recipe(epochs=3), lambda n, _: (np.ones((n, 101, 101, 3), np.float32), np.arange(n) % 2))
    for _ in range(2):
        with pytest.raises(CollapsedError, match="of epoch 1 are constant"):
            train_in(tmp_path / "run", blank)
        assert not (tmp_path / "run" / "resume.pt").exists()
    assert len(epochs_of(tmp_path / "run")) == 1
