"""Memory of every stage that a draw's cutouts go through: cut, validated, packed, trained on.

Each stage runs as it is, in a process of its own, on a draw whose members lie in one full brick; the figure is the most
that it, or one process that it started, held at any time. Pixels go to the disk and come back: 124 kB a cutout.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from sqlalchemy import func, select
from sqlalchemy.engine import URL

from db.engine import connectable
from db.models.imaging import Cutout, CutoutMetric, Pack
from tests.bench.cutouts.brick_files import write_brick
from tests.bench.cutouts.one_brick import DRAW, SCHEME, one_brick_draw
from tests.bench.cutouts.sizes import Sizes
from tests.bench.limits import Measure
from tests.bench.machine import peak_gib

LIMIT_GIB = 1.5 * 1e9 / 2**30
"""1.5 GB."""
BATCH = 256
BATCH_TRAINED = 64
STEPS = 4
"""Batches that a network is trained on, of the demo's size; it alone holds 1.3 GB more in batches of 256, however many
cutouts there are."""


def measure(folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Run the stages one after the other."""
    n = sizes.n_memory
    coadds, store = folder / "coadds", folder / "store"
    with out.status("writing a brick"):
        write_brick(coadds, sizes.brick_pixels)
    measures = []
    with one_brick_draw(folder, n, sizes.brick_pixels) as url:
        place = (url.render_as_string(hide_password=False), str(store))
        stages = {
            "cutouts make": (cut, str(coadds)),
            "cutouts validate": (validate,),
            "store pack": (pack,),
            "train: one epoch read from the pack": (read_epoch,),
            f"train: the stage, ResNet-18, {STEPS} batches of {BATCH_TRAINED}": (train,),
        }
        for name, (work, *arguments) in stages.items():
            with out.status(f"{name}: {n:,} cutouts"):
                start = time.perf_counter()
                peak = peak_gib(work, *place, *arguments)
                seconds = time.perf_counter() - start
            measures += [
                Measure(f"{name}: most memory of a process", peak, "GiB", at_most=LIMIT_GIB),
                Measure(f"{name}: took", seconds, "s"),
            ]
        measures += _counts(url)
    return measures


def _counts(url: URL) -> list[Measure]:
    """How many cutouts went through the stages: some are rejected when cut, or quarantined, as in the survey."""
    engine = connectable(url)
    with engine.connect() as connection:
        counts = {
            "cutouts cut": connection.scalar(select(func.count()).select_from(Cutout)),
            "cutouts measured": connection.scalar(select(func.count()).select_from(CutoutMetric)),
            "cutouts packed and read": connection.scalar(select(func.sum(Pack.n_cutouts))),
        }
    engine.dispose()
    return [Measure(name, float(n or 0), "cutouts") for name, n in counts.items()]


def cut(url: str, store: str, coadds: str) -> None:
    """`cutouts make`."""
    from etl.cutouts.config import CutoutConfig
    from etl.cutouts.make import StoreAddress, make_cutouts

    done = make_cutouts(connectable(url), CutoutConfig(draw=DRAW, coadds=coadds), StoreAddress(store))
    if done.failed or done.n_without_brick:
        raise RuntimeError(f"{done.n_without_brick} without brick; {done.failed[:1]}")


def validate(url: str, store: str) -> None:
    """`cutouts validate`."""
    from etl.cutouts.make import StoreAddress
    from etl.validation.validate import ValidationConfig, validate_cutouts

    validate_cutouts(connectable(url), ValidationConfig(draw=DRAW), StoreAddress(store))


def pack(url: str, store: str) -> None:
    """`store pack`."""
    from training.packs.write import PackConfig, write_pack

    os.environ["STRONGLENS_STORE"] = store
    write_pack(connectable(url), PackConfig(draw=DRAW, scheme=SCHEME))


def read_epoch(url: str, store: str) -> None:
    """All of the pack once, shuffled, preprocessed, in batches made ahead."""
    import torch

    from etl.storage import open_store
    from training.images import ahead
    from training.manifest import named_manifest
    from training.preprocess import Preprocessing
    from training.source import Wanted, open_source

    engine = connectable(url)
    manifest = named_manifest(engine, DRAW, SCHEME, "v1")
    wanted = Wanted(manifest, Preprocessing(pixel_dtype="float16"), "pack")
    images = open_source(engine, wanted, open_store(store)).images(manifest, lambda *_: None)
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(manifest)))
    n_loaded = sum(len(batch) for _, batch in ahead(images, order.split(BATCH)))
    if n_loaded != len(manifest):
        raise RuntimeError(f"{n_loaded} of {len(manifest)} images")


def train(url: str, store: str) -> None:
    """`train`, of a few steps; whatever the validation said of noise is accepted."""
    from training.config import TrainConfig
    from training.preprocess import Preprocessing
    from training.train import train_model

    os.environ["STRONGLENS_STORE"] = store
    recipe = TrainConfig(
        name="memory",
        draw=DRAW,
        scheme=SCHEME,
        preprocessing=Preprocessing(pixel_dtype="float16"),
        batch_size=BATCH_TRAINED,
        epochs=1,
        epoch_images=STEPS * BATCH_TRAINED,
        shuffle_labels=True,
        accept_gate="a benchmark",
        device="cpu",
    )
    train_model(connectable(url), recipe, source="pack")
