"""The recipe of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from db.config import StageConfig
from training.preprocess import Preprocessing

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class InitialWeights(StageConfig):
    """A local file of weights to start from; its last layer is not used."""

    path: Path
    sha256: Sha256


class AugmentConfig(StageConfig):
    """How training images are varied."""

    symmetries: bool = True
    noise_mads: float = Field(default=0.1, ge=0, le=5)


class TrainConfig(StageConfig):
    """Everything that decides what a model becomes, apart from the manifest.

    ``balance`` states how the rarer class is held up: ``none``; ``loss`` (positives weigh n_negative / n_positive of
    the manifest's weights); ``sampling`` (every batch is drawn half from each class, the loss is left alone).
    ``epoch_images`` is the number of image-steps of an epoch; None shows every training cutout once. ``accept_gate`` is
    why a draw without the verdict GO may be trained on; it is kept with the model, and makes no other model of it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    draw: str = "default"
    scheme: str = "default"
    cutout_version: str = "v1"
    architecture: Literal["resnet18"] = "resnet18"
    initial_weights: InitialWeights | None = None
    preprocessing: Preprocessing = Preprocessing()
    augment: AugmentConfig = AugmentConfig()
    balance: Literal["none", "loss", "sampling"] = "none"
    batch_size: int = Field(default=256, ge=2, le=8192)
    epochs: int = Field(default=50, ge=1)
    epoch_images: int | None = Field(default=None, ge=2)
    learning_rate: float = Field(default=3e-4, gt=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=10, ge=1)
    seed: int = Field(default=42, ge=0)
    shuffle_labels: bool = False
    accept_gate: str | None = Field(default=None, pattern=r"\S")
    device: Literal["auto", "cpu", "cuda"] = "auto"
