"""What a recipe teaches of a manifest: which cutouts, with which labels and weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.config import TrainConfig
from training.control import deal_labels
from training.manifest import Manifest


@dataclass(frozen=True)
class Taught:
    """Cutouts of one part with the targets of the loss, in [0, 1]; the labels proper are the manifest's."""

    manifest: Manifest
    target: npt.NDArray[np.float32]


def taught(manifest: Manifest, recipe: TrainConfig) -> tuple[Taught, Taught]:
    """Return what the recipe trains on, and what it chooses its epoch by (val without the calibration part)."""
    dealt = deal_labels(manifest, recipe.seed) if recipe.shuffle_labels else manifest
    train = dealt.rows(dealt.split == "train")
    choice = dealt.rows((dealt.split == "val") & ~dealt.is_calibration)
    return Taught(train, train.label.astype(np.float32)), Taught(choice, choice.label.astype(np.float32))
