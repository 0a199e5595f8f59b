"""The last layer of a network, and what it is given: the image's embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    """Name and module of a network's last linear layer, which gives the logit.

    Raises
    ------
    TypeError
        When the network has none.
    """
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise TypeError(f"a {type(network).__name__} has no linear layer to take embeddings from")
    return found[-1]


def embed(network: nn.Module, images: Tensor) -> Tensor:
    """Give what the last linear layer of a network is given for preprocessed images, shape (n, d).

    The network is used as it stands, in training or evaluation mode; it is not a compiled one.
    """
    given: list[Tensor] = []

    def keep(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        given.append(inputs[0])

    handle = last_linear(network)[1].register_forward_pre_hook(keep)
    try:
        network(images)
    finally:
        handle.remove()
    return given[0]
