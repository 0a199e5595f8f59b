"""What is done with a network: made from a seed, put on a device, asked about images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from training.config import InitialWeights
from training.errors import TrainingError
from training.images import Images, ahead
from training.networks.build import build_network
from training.networks.initial import start_from
from training.networks.last_layer import embed, last_linear

__all__ = ["build_network", "choose_device", "embeddings", "logits", "n_parameters", "seeded_network"]

Precision = Literal["float32", "bf16"]


def seeded_network(
    architecture: str, seed: int, initial: InitialWeights | None = None, manifest_sha256: str | None = None
) -> nn.Module:
    """Make a network whose weights follow from a seed, or from a file with a new last layer.

    A file that is a checkpoint of ours must be of the manifest with this digest; None asks nothing.

    Raises
    ------
    CheckpointError
        When the file is missing, is not the one that the recipe names, or fits another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(architecture)
    if initial is not None:
        start_from(network, initial, manifest_sha256)
    return network


def n_parameters(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def choose_device(wanted: str) -> torch.device:
    """Device of a recipe: ``auto`` is the GPU where there is one.

    Raises
    ------
    TrainingError
        When a GPU is wanted and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise TrainingError("device 'cuda': torch finds no GPU; set `device: auto` or `device: cpu`")
    if wanted == "cpu" or not has_gpu:
        if "OMP_NUM_THREADS" not in os.environ:  # torch heeds that limit by itself
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        return torch.device("cpu")
    return torch.device("cuda")


@torch.inference_mode()
def logits(network: nn.Module, images: Images, *, batch_size: int = 512, precision: Precision = "float32") -> Tensor:
    """Logits of preprocessed images, shape (n,), on the CPU; leaves the network in evaluation mode.

    In bf16 all but the last layer is computed with 8 bits; the last one in float32, so that logits do not tie.
    """
    network.eval()
    batches = _batches(network, images, batch_size)
    if precision == "float32":
        parts = [network(batch) for batch in batches]
    else:
        last = last_linear(network)[1]
        parts = [last(_embedded(network, batch, precision)) for batch in batches]
    return torch.cat(parts).squeeze(1).cpu() if parts else torch.empty(0)


@torch.inference_mode()
def embeddings(
    network: nn.Module, images: Images, *, batch_size: int = 512, precision: Precision = "float32"
) -> Tensor:
    """Give what the last layer is given for preprocessed images, shape (n, d), float32, on the CPU.

    Leaves the network in evaluation mode.
    """
    network.eval()
    parts = [_embedded(network, batch, precision).cpu() for batch in _batches(network, images, batch_size)]
    return torch.cat(parts) if parts else torch.empty(0, last_linear(network)[1].in_features)


def _embedded(network: nn.Module, batch: Tensor, precision: Precision) -> Tensor:
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=precision == "bf16"):
        return embed(network, batch).float()


def _batches(network: nn.Module, images: Images, batch_size: int) -> Iterator[Tensor]:
    """Batches on the network's device, channels last."""
    every = (slice(first, first + batch_size) for first in range(0, len(images), batch_size))
    for _, batch in ahead(images, every, _device(network)):
        yield batch.contiguous(memory_format=torch.channels_last)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
