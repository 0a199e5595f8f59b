"""A trained network as a file: tensors and plain values only, read without running any code of it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from training.errors import CheckpointError
from training.preprocess import Preprocessing

FORMAT = "stronglens-checkpoint"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, besides its format's name and version."""

    name: str
    architecture: str
    bands: str
    preprocessing: Preprocessing
    config: dict[str, Any]
    manifest_sha256: str
    epoch: int
    state: dict[str, Tensor]

    def to_bytes(self) -> bytes:
        """Write it down."""
        body = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            **vars(self),
            "preprocessing": self.preprocessing.model_dump(mode="json"),
        }
        stream = io.BytesIO()
        torch.save(body, stream)
        return stream.getvalue()


def read_checkpoint(data: bytes, source: str) -> Checkpoint:
    """Read a checkpoint; `source` names it in errors.

    Raises
    ------
    CheckpointError
        When the bytes are damaged, are no checkpoint of ours, or have another version.
    """
    body = read_tensors(data, source)
    if body.get("format") != FORMAT:
        raise CheckpointError(f"{source}: is not a checkpoint of stronglens")
    if body.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{source}: has checkpoint version {body.get('format_version')!r}, this code reads {FORMAT_VERSION}: "
            "train the model again"
        )
    values = {key: value for key, value in body.items() if key not in {"format", "format_version"}}
    try:
        values["preprocessing"] = Preprocessing.model_validate(values["preprocessing"])
        checkpoint = Checkpoint(**values)
    except (KeyError, TypeError, ValidationError) as exc:
        raise CheckpointError(f"{source}: is a checkpoint of another layout: train the model again") from exc
    if checkpoint.bands != checkpoint.preprocessing.bands or not isinstance(checkpoint.state, dict):
        raise CheckpointError(f"{source}: contradicts itself about its bands or weights: train the model again")
    return checkpoint


def read_tensors(data: bytes, source: str) -> dict[str, Any]:
    """Read a torch file that holds a dictionary of tensors and plain values.

    Raises
    ------
    CheckpointError
        When it is damaged or holds anything else.
    """
    try:
        body = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as exc:  # torch and pickle answer damaged bytes with a dozen types of error
        raise CheckpointError(
            f"{source}: cannot be read as a checkpoint ({len(data)} bytes, damaged or no torch file): "
            "restore it or train the model again"
        ) from exc
    if not isinstance(body, dict):
        raise CheckpointError(f"{source}: holds a {type(body).__name__}, expected a dictionary of tensors")
    return body
