"""Start a network from a local file of weights."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import nn

from training.checkpoint import FORMAT, read_tensors
from training.config import InitialWeights
from training.errors import CheckpointError
from training.networks.last_layer import last_linear


def start_from(network: nn.Module, initial: InitialWeights, manifest_sha256: str | None = None) -> None:
    """Put the weights of a file into a network, all but those of its last layer.

    The file holds a state dictionary, as torchvision gives its own away (their first convolution has three channels
    too), or is a checkpoint of ours. One of ours must be of the manifest that is trained on: any other may have been
    taught what this one's test split holds.

    Raises
    ------
    CheckpointError
        When the file is missing, is not the one that the recipe names, fits another network, or is of ours and of
        another manifest.
    """
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
    if body.get("format") == FORMAT and manifest_sha256 is not None and body.get("manifest_sha256") != manifest_sha256:
        raise CheckpointError(
            f"{initial.path}: initial weights of model {body.get('name')!r} were trained on another manifest, which "
            "may hold this one's test objects: start from weights that never saw the survey, or of the same manifest"
        )
    own = f"{last_linear(network)[0]}."
    weights = {name: value for name, value in _state(body).items() if not str(name).startswith(own)}
    other = f"{initial.path}: initial weights of another network than the recipe's"
    try:
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except (RuntimeError, TypeError, AttributeError) as exc:
        raise CheckpointError(other) from exc
    if unexpected or any(not name.startswith(own) for name in missing):
        raise CheckpointError(other)


def _state(body: dict[str, Any]) -> dict[str, Any]:
    state = body.get("state") if body.get("format") == FORMAT else body
    return state if isinstance(state, dict) else {}
