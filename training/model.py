"""The networks: one logit from three bands."""

from __future__ import annotations

import hashlib
import os

import torch
from torch import Tensor, nn

from training.checkpoint import read_tensors
from training.config import InitialWeights
from training.errors import CheckpointError, TrainingError
from training.images import Images, ahead
from training.torchvision_shim import torchvision_models


def build_network(architecture: str) -> nn.Module:
    """Make a network with one logit, its weights drawn from torch's global generator.

    Raises
    ------
    TrainingError
        When the architecture is not known.
    """
    if architecture != "resnet18":
        raise TrainingError(f"architecture {architecture!r} is not known: this version builds resnet18")
    network = torchvision_models().resnet18(weights=None, num_classes=1)
    if not isinstance(network, nn.Module):
        raise TypeError(type(network))
    # Half as fast again as the default layout on two CPU cores.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # not in its stubs


def seeded_network(architecture: str, seed: int, initial: InitialWeights | None = None) -> nn.Module:
    """Make a network whose weights follow from a seed, or from a file with a new last layer.

    Raises
    ------
    CheckpointError
        When the file is missing, is not the one that the recipe names, or fits another network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(architecture)
    if initial is not None:
        _start_from(network, initial)
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
def logits(network: nn.Module, images: Images, *, batch_size: int = 512) -> Tensor:
    """Logits of preprocessed images, shape (n,), on the CPU; leaves the network in evaluation mode."""
    device = next(network.parameters()).device
    network.eval()
    batches = (slice(first, first + batch_size) for first in range(0, len(images), batch_size))
    parts = [
        network(batch.to(device).contiguous(memory_format=torch.channels_last)) for _, batch in ahead(images, batches)
    ]
    return torch.cat(parts).squeeze(1).cpu() if parts else torch.empty(0)


def _start_from(network: nn.Module, initial: InitialWeights) -> None:
    try:
        data = initial.path.read_bytes()
    except OSError as exc:
        raise CheckpointError(f"{initial.path}: initial weights cannot be read: {exc.strerror}") from exc
    found = hashlib.sha256(data).hexdigest()
    if found != initial.sha256:
        raise CheckpointError(
            f"{initial.path}: initial weights have SHA-256 {found}, the recipe says {initial.sha256}: "
            "correct the one that is wrong"
        )
    body = read_tensors(data, str(initial.path))
    weights = {name: value for name, value in body.items() if not name.startswith("fc.")}
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except (RuntimeError, TypeError) as exc:
        raise CheckpointError(f"{initial.path}: initial weights of another network than the recipe's") from exc
    if unexpected or any(not name.startswith("fc.") for name in missing):
        raise CheckpointError(f"{initial.path}: initial weights of another network than the recipe's")
