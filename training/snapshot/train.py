"""Train on a snapshot, without a database: what comes out is a folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from db.models import Split
from db.provenance import code_sha256, git_commit
from training.config import TrainConfig
from training.errors import GateError
from training.fit import EpochResult, fit
from training.model import choose_device, n_parameters, seeded_network
from training.progress import Progress, silent
from training.snapshot.folder import new_folder
from training.snapshot.read import Snapshot
from training.source import PackSource
from training.train import checkpoint_of, parts_of

CHECKPOINT_NAME = "checkpoint.pt"
EPOCHS_NAME = "epochs.json"
RUN_NAME = "run.json"


@dataclass(frozen=True)
class SnapshotResult:
    """What became of a training."""

    name: str
    out: Path
    n_train: int
    n_val: int
    best_epoch: int
    epochs: tuple[EpochResult, ...]


def train_on_snapshot(folder: Path, recipe: TrainConfig, out: Path, progress: Progress = silent) -> SnapshotResult:
    """Train a recipe on a snapshot; draw, split scheme and cutout version are the snapshot's, whatever the recipe says.

    `out` then holds the checkpoint, the epochs, and a JSON that says which snapshot, recipe and code they came from.

    Raises
    ------
    SnapshotError, PackError, ManifestError, PreprocessingError
        When the snapshot cannot be trained on, or `out` is there already.
    GateError
        When its verdict was not GO and the recipe accepts no other.
    CollapsedError
        When training collapses.
    """
    with new_folder(out) as place:
        snapshot = Snapshot.open(folder, progress)
        about, manifest = snapshot.description, snapshot.manifest
        if about.gate != "GO" and recipe.accept_gate is None:
            raise GateError(
                f"{folder}: the verdict on its cutouts was {about.gate!r} when it was exported: validate and export "
                'again, or say why it may be trained on: --accept-gate "REASON"'
            )
        of = {"draw": about.draw, "scheme": about.scheme, "cutout_version": about.cutout_version}
        taught = recipe.model_copy(update=of)
        manifest.require_both_classes(Split.TRAIN, Split.VAL)
        manifest.require_layout(taught.preprocessing)
        source = PackSource(snapshot.pack, taught.preprocessing)
        source.require_fit()
        device = choose_device(taught.device)
        network = seeded_network(taught.architecture, taught.seed, taught.initial_weights).to(device)
        parts = parts_of(manifest, taught, source, progress, device)
        epochs: list[EpochResult] = []
        fitted = fit(network, parts, taught, epochs.append, progress)
        (place / CHECKPOINT_NAME).write_bytes(checkpoint_of(taught, manifest, fitted).to_bytes())
        (place / EPOCHS_NAME).write_text(json.dumps([asdict(row) for row in epochs], indent=1) + "\n")
        run = {
            "name": taught.name,
            "snapshot_sha256": snapshot.sha256,
            "snapshot": about.model_dump(mode="json", exclude={"files", "column_units"}),
            "recipe": taught.model_dump(mode="json"),
            "best_epoch": fitted.best.epoch,
            "n_train": len(parts[0].labels),
            "n_val": len(parts[1].labels),
            "n_parameters": n_parameters(network),
            "device": str(device),
            "stronglens_version": version("stronglens"),
            "torch_version": torch.__version__,
            "git_commit": git_commit(),
            "code_sha256": code_sha256(),
        }
        (place / RUN_NAME).write_text(json.dumps(run, indent=1) + "\n")
    return SnapshotResult(
        taught.name, out, len(parts[0].labels), len(parts[1].labels), fitted.best.epoch, tuple(epochs)
    )
