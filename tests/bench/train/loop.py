"""What data and bookkeeping cost a training on the CPU: each network in the three ways of `ways`, in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from tests.bench.limits import Measure
from tests.bench.train.made_pack import made_pack
from tests.bench.train.sizes import Sizes
from tests.bench.train.ways import in_turn, measures
from training.config import TrainConfig
from training.model import choose_device
from training.packs.read import PackedImages
from training.preprocess import Preprocessing

RULES = Preprocessing(pixel_dtype="float16")
N_EPOCHS = 4


def measure(folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Train each network in the three ways, in turn."""
    device = choose_device("cpu")
    with out.status(f"packing {sizes.n_packed:,} cutouts"):
        pack = made_pack(folder, sizes.n_packed, RULES.crop_px)
    packed = PackedImages(pack, np.arange(sizes.n_packed), RULES)
    for first in range(0, sizes.n_packed, 256):
        packed[slice(first, first + 256)]  # once from end to end, so that the disk is in no round
    found: list[Measure] = []
    for architecture, n_steps in sizes.n_steps:
        with out.status(f"training {architecture}") as status:
            recipe = _recipe(architecture, sizes, n_steps)
            rates = in_turn(packed, recipe, device, sizes.n_repeats, status.update)
        found += measures(architecture, rates)
    return found


def _recipe(architecture: str, sizes: Sizes, n_steps: int) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "bench",
            "architecture": architecture,
            "preprocessing": RULES,
            "batch_size": sizes.batch_size,
            "epochs": N_EPOCHS,
            "epoch_images": n_steps * sizes.batch_size,
            "learning_rate": 1e-4,
            "shuffle_labels": True,
            "patience": N_EPOCHS,
            "device": "cpu",
        }
    )
