"""A trained network that answers with scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint
from training.errors import CheckpointError, TrainingError
from training.images import Images
from training.model import build_network, choose_device, embeddings, logits
from training.networks.last_layer import last_linear
from training.preprocess import Preprocessing, preprocess

BATCH = 512
"""Cutouts that go through the network at once: always the same, since the last bits of a score depend on it."""


@dataclass(frozen=True)
class Scorer:
    """A network with the preprocessing that belongs to it."""

    network: nn.Module
    preprocessing: Preprocessing

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
        return _scores(logits(self.network, images, batch_size=BATCH))

    def score_and_embed(self, images: Images) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
        """Give the very scores of `score_images`, and what the network's last layer made them of, shape (n, d)."""
        features = embeddings(self.network, images, batch_size=BATCH)
        last = last_linear(self.network)[1]
        with torch.inference_mode():
            answers = [last(batch.to(self.device)).cpu() for batch in torch.split(features, BATCH)]
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
    return Scorer(network.to(choose_device(device)).eval(), checkpoint.preprocessing)


def _scores(answers: Tensor) -> npt.NDArray[np.float64]:
    scores = torch.sigmoid(answers.double()).numpy()
    if not np.isfinite(scores).all():
        raise TrainingError("the model answers NaN: its weights are damaged, train it again")
    return scores
