"""How a training computes: repeatable or fast, in which precision, and from which chance."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from training.errors import TrainingError

Precision = Literal["float32", "bf16"]


@dataclass(frozen=True)
class Chance:
    """The generators of a training: of its batches, and of what is done to its images, on their device.

    Layers that draw by themselves, such as dropout, use torch's own generators, which belong to it as well.
    """

    batches: torch.Generator
    images: torch.Generator

    def state(self) -> dict[str, Tensor]:
        """Return the state of them all."""
        state = {
            "batches": self.batches.get_state(),
            "images": self.images.get_state(),
            "layers": torch.random.get_rng_state(),
        }
        if self.images.device.type == "cuda":
            state["layers_cuda"] = torch.cuda.get_rng_state(self.images.device)
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to a state."""
        self.batches.set_state(state["batches"])
        self.images.set_state(state["images"])
        torch.random.set_rng_state(state["layers"])
        if "layers_cuda" in state:
            torch.cuda.set_rng_state(state["layers_cuda"], self.images.device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[Chance]:
    """Give the generators of a seed; torch's own are seeded within and are as before after it."""
    batches, images, layers = (int(word) for word in np.random.SeedSequence(seed).generate_state(3, np.uint64) >> 1)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(layers)
        yield Chance(torch.Generator().manual_seed(batches), torch.Generator(device=device).manual_seed(images))


@contextmanager
def repeatable(wanted: bool, device: torch.device) -> Iterator[None]:
    """Let torch use only operations that repeat exactly, where it has them; or, on a GPU, the fastest that it has."""
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic
    filled = fills.fill_uninitialized_memory  # type: ignore[attr-defined]  # a property of the module
    benchmark, convolutions = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32
    products = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        if wanted:  # cuBLAS repeats itself only with a workspace of its own, asked for before its first product
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = not wanted
        torch.backends.cudnn.allow_tf32 = not wanted
        torch.set_float32_matmul_precision("highest" if wanted else "high")
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    # Filling memory that is about to be written only finds faults of operations, and takes time for each of them.
    fills.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        fills.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        if device.type == "cuda":
            torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = benchmark, convolutions
            torch.set_float32_matmul_precision(products)


def precision_on(device: torch.device, wanted: Precision) -> Precision:
    """Precision in which a network is trained: the recipe's, but float32 on a CPU that does not compute in bf16."""
    return "float32" if device.type == "cpu" and not _cpu_computes_in_bf16() else wanted


def _cpu_computes_in_bf16() -> bool:
    has_mkldnn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # as torch leaves it
    return has_mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - it has no public name


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Compile a network for each shape of batch; it shares its parameters, which keep their names.

    Raises
    ------
    TrainingError
        At its first batch, when it cannot be compiled here.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes a second

    forward = torch.compile(network, dynamic=False)

    def call(images: Tensor) -> Tensor:
        try:
            answer: Tensor = forward(images)
        except TorchDynamoException as exc:
            why = next((line for line in str(exc).splitlines() if line.strip()), type(exc).__name__)
            raise TrainingError(
                f"the network cannot be compiled here ({why.strip()}): set `compile: false`, or install a C++ compiler"
            ) from exc
        return answer

    return call
