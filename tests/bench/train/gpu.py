"""One large GPU: ResNet-18 trained and scored from a pack that stays on the card, and what bounds it.

The recipe is `training/configs/resnet18_gpu.yaml`, scoring is `Scorer.score_images`: what users run. Without a GPU
nothing is measured, and the table says so. What the card itself can do - the bandwidth of a copy within its memory, the
throughput of a large bf16 matrix product - is measured in the same run.
"""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console

from db.config import load_config
from db.settings import CHECKOUT
from tests.bench.limits import Measure, median
from tests.bench.train import card
from tests.bench.train.sizes import Sizes
from tests.bench.train.ways import epochs_of, in_turn, measures
from training.config import TrainConfig
from training.model import seeded_network
from training.preprocess import Preprocessing
from training.resident import ResidentImages
from training.scaling import statistics_on_device
from training.scoring.scorer import Scorer

RECIPE = CHECKOUT / "training" / "configs" / "resnet18_gpu.yaml"
PROFILE = CHECKOUT / "build" / "bench" / "train-gpu-profile.txt"
N_EPOCHS = 4
N_STEPS = 60
"""Steps of an epoch where ways of training are compared."""
_CHUNK = 8192


def measure(_folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Train on a pack of the survey's size, score it, compare the loop with a bare one, and look at the card."""
    if not torch.cuda.is_available():
        out.print("no GPU here: not measured")
        return []
    return measured_on(torch.device("cuda"), recipe_of(sizes), sizes, out)


def recipe_of(sizes: Sizes) -> TrainConfig:
    """The recipe of a large GPU, for a few epochs on noise; a tiny run has smaller batches."""
    recipe = load_config(TrainConfig, RECIPE)
    batch_size = min(recipe.batch_size, sizes.n_on_gpu // 2)
    return recipe.model_copy(update={"epochs": N_EPOCHS, "shuffle_labels": True, "batch_size": batch_size})


def measured_on(device: torch.device, recipe: TrainConfig, sizes: Sizes, out: Console) -> list[Measure]:
    """Measure on a device; only a GPU's numbers are worth their limits."""
    images = resident(sizes.n_on_gpu, recipe.preprocessing, device)
    found = _training_and_scoring(images, recipe, device)
    found += _ways(images, recipe, sizes, out)
    with out.status("profiling"):
        table = card.profiled(images, recipe, device, n_rows=25)
    PROFILE.parent.mkdir(parents=True, exist_ok=True)
    PROFILE.write_text(table)
    out.print("\n".join(table.splitlines()[:15]), soft_wrap=True, markup=False, highlight=False)
    return found + _limits_of_the_card(images, recipe, found[0].value)


def resident(n: int, rules: Preprocessing, device: torch.device) -> ResidentImages:
    """Noise on a device, as a pack would lie there."""
    kind = {"float16": torch.float16, "float32": torch.float32}[rules.pixel_dtype]
    pixels = torch.empty((n, rules.crop_px, rules.crop_px, 3), dtype=kind, device=device)
    median_, mad = (torch.empty((n, 3), device=device) for _ in range(2))
    for first in range(0, n, _CHUNK):
        chunk = slice(first, first + _CHUNK)
        pixels[chunk] = torch.randn_like(pixels[chunk], dtype=torch.float32).mul_(0.02).to(kind)
        median_[chunk], mad[chunk] = statistics_on_device(pixels[chunk], rules)
    return ResidentImages(pixels, median_, mad, rules)


def _training_and_scoring(images: ResidentImages, recipe: TrainConfig, device: torch.device) -> list[Measure]:
    epochs = epochs_of(images, recipe, device)[1:]
    rate = [epoch.n_images / epoch.seconds for epoch in epochs]
    scorer = Scorer.of(seeded_network(recipe.architecture, 0).to(device), images.rules, recipe.precision)
    scorer.score_images(images)
    scoring = [len(images) / card.seconds(device, lambda: scorer.score_images(images)) for _ in range(3)]
    held_gb = (images.pixels.nbytes + images.median.nbytes + images.mad.nbytes) / 1e9
    return [
        median(f"trained by {RECIPE.name}, resident pack", rate, "images/s", at_least=50_000.0),
        median(f"an epoch of {len(images):,} cutouts", [e.seconds for e in epochs], "s", at_most=10.0),
        median(f"scored in {scorer.precision}, resident pack", scoring, "images/s", at_least=200_000.0),
        Measure("pack and statistics on the card", held_gb, "GB"),
    ]


def _ways(images: ResidentImages, recipe: TrainConfig, sizes: Sizes, out: Console) -> list[Measure]:
    """Our loop and the bare one, both compiled, then neither."""
    n_images = min(N_STEPS, len(images) // recipe.batch_size) * recipe.batch_size
    found: list[Measure] = []
    for is_compiled in sorted({recipe.compile, False}, reverse=True):
        name = f"{recipe.architecture} on the card, {'compiled' if is_compiled else 'not compiled'}"
        some = recipe.model_copy(update={"compile": is_compiled, "epoch_images": n_images})
        with out.status(name) as status:
            found += measures(name, in_turn(images, some, images.device, min(3, sizes.n_repeats), status.update))
    return found


def _limits_of_the_card(images: ResidentImages, recipe: TrainConfig, trained: float) -> list[Measure]:
    device, is_gpu = images.device, images.device.type == "cuda"
    network = seeded_network(recipe.architecture, 0).to(device)
    few = images[slice(0, 8)]
    flop, moved = card.flop_per_image(network, few), card.estimated_bytes_per_image(network, few)
    matrix = card.flop_of_a_matrix_product_per_second(device, 8192 if is_gpu else 64)
    copied = card.bytes_copied_per_second(device, 2 << 30 if is_gpu else 1 << 16)
    return [
        Measure("matrix product, bf16", matrix / 1e12, "TFLOP/s"),
        Measure("work of a training step", flop / 1e9, "GFLOP/image"),
        Measure("share of the matrix throughput reached", trained * flop / matrix, ""),
        Measure("copy within the card's memory, read and written", copied / 1e9, "GB/s"),
        Measure("memory traffic of a training step, estimated from sizes of activations", moved / 1e6, "MB/image"),
        Measure("share of the copy's bandwidth, by that estimate", trained * moved / copied, ""),
    ]
