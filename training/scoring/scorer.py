"""A trained network that answers with scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.arithmetic import Precision
from training.checkpoint import Checkpoint
from training.errors import CheckpointError, TrainingError
from training.images import Images
from training.model import build_network, choose_device, embeddings, logits
from training.networks.last_layer import last_linear
from training.preprocess import Preprocessing, preprocess

BATCH = 512
"""Cutouts that go through the network at once: always the same, since the last bits of a score depend on it."""

BATCH_ON_GPU = 8192
"""The same on a GPU, which smaller batches do not fill."""


@dataclass(frozen=True)
class Scorer:
    """A network with the preprocessing that belongs to it, and how it computes.

    A score does not depend on where it is made beyond rounding: a CPU computes in float32; a GPU in the precision of
    the model's recipe, of which bf16 keeps 8 bits in every layer but the last. `Scorer.of` chooses.
    """

    network: nn.Module
    preprocessing: Preprocessing
    precision: Precision = "float32"
    batch_size: int = BATCH

    @classmethod
    def of(cls, network: nn.Module, preprocessing: Preprocessing, recipes: Precision) -> Scorer:
        """Score where the network is: on a GPU in the precision of its recipe and large batches, else in float32."""
        on_gpu = next(network.parameters()).device.type == "cuda"
        how: tuple[Precision, int] = (recipes, BATCH_ON_GPU) if on_gpu else ("float32", BATCH)
        return cls(network.eval(), preprocessing, *how)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def score_pixels(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Scores of raw cutouts in nanomaggies, shape (n, cutout_px, cutout_px, 3); shape (n,), in [0, 1].

        Raises
        ------
        PreprocessingError
            When the cutouts have another shape than the model's.
        """
        return self.score_images(torch.from_numpy(preprocess(pixels, self.preprocessing)))

    def score_images(self, images: Images) -> npt.NDArray[np.float64]:
        """Scores of cutouts that went through the model's preprocessing.

        The sigmoid is taken in double precision, so that the most confident scores stay apart.

        Raises
        ------
        TrainingError
            When the network answers with NaN.
        """
        return _scores(logits(self.network, images, batch_size=self.batch_size, precision=self.precision))

    def score_and_embed(self, images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Give the very scores of `score_images`, and what the network's last layer made them of, shape (n, d)."""
        size = self.batch_size
        features = embeddings(self.network, images, batch_size=size, precision=self.precision)
        last = last_linear(self.network)[1]
        with torch.inference_mode():
            answers = [last(batch.to(self.device)).cpu() for batch in torch.split(features, size)]
        return _scores(torch.cat(answers).squeeze(1)), features.numpy()


def scorer_of(checkpoint: Checkpoint, device: str) -> Scorer:
    """Put the network of a checkpoint on a device.

    Raises
    ------
    CheckpointError
        When its weights do not fit the network that it names.
    """
    network = build_network(checkpoint.architecture)
    try:
        network.load_state_dict(checkpoint.state)
    except (RuntimeError, TypeError) as exc:
        raise CheckpointError(
            f"checkpoint of {checkpoint.name!r}: its weights do not fit a {checkpoint.architecture}: train it again"
        ) from exc
    recipes: Precision = "bf16" if checkpoint.config.get("precision") == "bf16" else "float32"
    return Scorer.of(network.to(choose_device(device)), checkpoint.preprocessing, recipes)


def _scores(answers: Tensor) -> npt.NDArray[np.float64]:
    scores = torch.sigmoid(answers.double()).numpy()
    if not np.isfinite(scores).all():
        raise TrainingError("the model answers NaN: its weights are damaged, train it again")
    return scores
