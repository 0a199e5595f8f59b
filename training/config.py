"""The recipe of one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from db.config import StageConfig
from training.preprocess import Preprocessing

Architecture = Literal["resnet18", "shielded_resnet", "efficientnet_v2_s"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class InitialWeights(StageConfig):
    """A local file of weights to start from; its last layer is not used."""

    path: Path
    sha256: Sha256


class AugmentConfig(StageConfig):
    """How training images are varied, on the device that trains.

    ``symmetries``: right-angle turns and mirroring; ``rotate``: turns by any angle; ``shift_px``: shifts by up to so
    many whole pixels along each axis; ``noise_mads``: standard deviation of added noise in units of the image's MAD.
    """

    symmetries: bool = True
    rotate: bool = False
    shift_px: int = Field(default=0, ge=0, le=16)
    noise_mads: float = Field(default=0.1, ge=0, le=5)


class LabelConfig(StageConfig):
    """What the network is taught about each cutout.

    ``positive_target`` below 1 smooths the labels of positives (0.8: "probably"). ``ungraded_tier_b`` leaves positives
    of tier B that no paper gave a letter out of training, or keeps them. ``flip_fraction`` of the training part has its
    labels turned over on purpose, to measure what wrong labels cost.
    """

    positive_target: float = Field(default=1.0, gt=0.5, le=1)
    ungraded_tier_b: Literal["include", "exclude"] = "include"
    flip_fraction: float = Field(default=0.0, ge=0, lt=0.5)


class DomainConfig(StageConfig):
    """Half of the sky's conditions that a model is trained on; the other half is what it never saw.

    Halves are those of the training part's positives: ``low`` up to and including the median, ``high`` above.
    """

    column: Literal["nobs_z", "psf_fwhm_z_arcsec"]
    half: Literal["low", "high"]


class TrainConfig(StageConfig):
    """Everything that decides what a model becomes, apart from the manifest.

    ``balance`` states how the rarer class is held up: ``none``; ``loss`` (positives weigh n_negative / n_positive of
    the manifest's weights); ``sampling`` (every batch is drawn half from each class, the loss is left alone).
    ``epoch_images`` is the number of image-steps of an epoch; None shows every training cutout once. ``micro_batch`` is
    how many images go through the network at once, their gradients summed up to ``batch_size``. ``halve_at`` are the
    fractions of the training at which the learning rate is halved. ``precision`` bf16 is autocast, on a GPU and on a
    CPU that computes in it (others train in float32). ``accept_gate`` is why a draw without the verdict GO may be
    trained on; it is kept with the model, and makes no other model of it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    draw: str = "default"
    scheme: str = "default"
    cutout_version: str = "v1"
    architecture: Architecture = "resnet18"
    initial_weights: InitialWeights | None = None
    preprocessing: Preprocessing = Preprocessing()
    labels: LabelConfig = LabelConfig()
    domain: DomainConfig | None = None
    augment: AugmentConfig = AugmentConfig()
    balance: Literal["none", "loss", "sampling"] = "none"
    batch_size: int = Field(default=256, ge=2, le=8192)
    micro_batch: int | None = Field(default=None, ge=2)
    epochs: int = Field(default=50, ge=1)
    epoch_images: int | None = Field(default=None, ge=2)
    learning_rate: float = Field(default=3e-4, gt=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    gradient_norm: float | None = Field(default=None, gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    halve_at: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    warmup_fraction: float = Field(default=0.0, ge=0, lt=1)
    patience: int = Field(default=10, ge=1)
    seed: int = Field(default=42, ge=0)
    shuffle_labels: bool = False
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    deterministic: bool = True
    accept_gate: str | None = Field(default=None, pattern=r"\S")
    device: Literal["auto", "cpu", "cuda"] = "auto"
