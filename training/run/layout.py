"""What a run's folder holds, and the JSON that describes and seals it."""

from __future__ import annotations

import datetime as dt
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from db.provenance import canonical_config, code_sha256, git_commit
from db.settings import settings
from training.arithmetic import precision_on
from training.config import Sha256, TrainConfig
from training.labels import Taught, taught_digest
from training.manifest import Manifest
from training.snapshot.layout import FileSeal, Verdict

RUN_NAME = "run.json"
EPOCHS_NAME = "epochs.jsonl"
RESUME_NAME = "resume.pt"
CHECKPOINT_NAME = "checkpoint.pt"
SCORES_NAME = "scores.parquet"
IMPORTED_NAME = "imported.json"


def run_folder(name: str) -> Path:
    """Folder of the training of a model, unless the user names another."""
    return settings().home / "runs" / name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ManifestIdentity(_Strict):
    """Which manifest, by name and by what it holds; `taught_sha256` is over the targets and weights of both parts."""

    survey: Literal["dr10", "mock"]
    draw: str
    scheme: str
    cutout_version: str
    n_cutouts: int
    sha256: Sha256
    taught_sha256: Sha256

    @classmethod
    def of(cls, manifest: Manifest, recipe: TrainConfig, parts: tuple[Taught, Taught]) -> ManifestIdentity:
        """Identify a manifest, and what a recipe teaches of it."""
        return cls.model_validate(
            {
                "survey": manifest.survey,
                "draw": recipe.draw,
                "scheme": recipe.scheme,
                "cutout_version": recipe.cutout_version,
                "n_cutouts": len(manifest),
                "sha256": manifest.digest(),
                "taught_sha256": taught_digest(parts),
            }
        )


class SnapshotIdentity(_Strict):
    """The snapshot that it was trained on: SHA-256 of its description, and the verdict that this carries."""

    sha256: Sha256
    gate: Verdict


class Code(_Strict):
    """What ran."""

    stronglens_version: str
    git_commit: str | None
    code_sha256: Sha256

    @classmethod
    def here(cls) -> Code:
        """Identify this checkout."""
        return cls(stronglens_version=version("stronglens"), git_commit=git_commit(), code_sha256=code_sha256())


class Environment(_Strict):
    """Where it ran; `precision` is what the network was computed in, whatever the recipe asked for."""

    host: str
    platform: str
    python_version: str
    torch_version: str
    cuda_version: str | None
    cudnn_version: int | None
    device: Literal["cpu", "cuda"]
    device_name: str
    n_threads: int
    precision: Literal["float32", "bf16"]

    @classmethod
    def here(cls, device: torch.device, recipe: TrainConfig) -> Environment:
        """Describe this machine."""
        is_gpu = device.type == "cuda"
        return cls.model_validate(
            {
                "host": platform.node(),
                "platform": platform.platform(),
                "python_version": platform.python_version(),
                "torch_version": torch.__version__,
                "cuda_version": torch.version.cuda if is_gpu else None,
                "cudnn_version": torch.backends.cudnn.version() if is_gpu else None,  # type: ignore[no-untyped-call]  # as torch leaves it
                "device": device.type,
                "device_name": torch.cuda.get_device_name(device) if is_gpu else platform.machine(),
                "n_threads": torch.get_num_threads(),
                "precision": precision_on(device, recipe.precision),
            }
        )


class RunDescription(_Strict):
    """What a run was; finished once `best_epoch` is there, and then `files` are sealed by name."""

    format: Literal["stronglens-run"] = "stronglens-run"
    format_version: Literal[1] = 1
    recipe: TrainConfig
    manifest: ManifestIdentity
    snapshot: SnapshotIdentity | None
    code: Code
    environment: Environment
    n_train: int
    n_val: int
    n_parameters: int
    started_at: dt.datetime
    resumed_after: tuple[int, ...] = ()
    finished_at: dt.datetime | None = None
    best_epoch: int | None = None
    files: dict[str, FileSeal] = Field(default_factory=dict)

    def work_sha256(self) -> str:
        """SHA-256 of what decides the outcome, apart from machine and code: two runs that share it do the same work."""
        return work_sha256(self.recipe, self.manifest)


def work_sha256(recipe: TrainConfig, manifest: ManifestIdentity) -> str:
    """SHA-256 of a recipe and what it is trained on; why a verdict was accepted makes no other work of it."""
    of = {
        "recipe": recipe.model_copy(update={"accept_gate": None}).model_dump(mode="json"),
        "manifest_sha256": manifest.sha256,
        "taught_sha256": manifest.taught_sha256,
    }
    return canonical_config(of)[0]
