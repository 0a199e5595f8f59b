"""A manifest of rings whose pixels lie in memory, for trainings that need neither a database nor files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.plain_manifest import plain_manifest
from training.config import TrainConfig
from training.images import CPU
from training.manifest import Manifest
from training.preprocess import preprocess
from training.progress import Progress
from training.run.layout import SnapshotIdentity
from training.run.work import Job

SNAPSHOT = SnapshotIdentity(sha256="5" * 64, gate="GO")


@dataclass(frozen=True)
class MemorySource:
    """Images by cutout id, which is their row."""

    pixels: Tensor

    def images(self, manifest: Manifest, _progress: Progress, _device: torch.device = CPU) -> Tensor:
        return self.pixels[torch.from_numpy(manifest.cutout_id)]


def ring_job(recipe: TrainConfig, ring_cutouts: Callable[..., Any], **columns: Any) -> Job:
    """A job of 60 cutouts: 30 to train on, 15 to choose by, 15 to test."""
    pixels, label = ring_cutouts(60, 5)
    split = np.repeat(["train", "val", "test"], [30, 15, 15])
    manifest = plain_manifest(60, label=label, split=split, **columns)
    images = torch.from_numpy(preprocess(pixels, recipe.preprocessing))
    return Job(recipe, manifest, lambda: MemorySource(images), SNAPSHOT)
