"""Synthetic cutouts with an obvious ring, and a small draw of them in a database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sqlalchemy import Engine, insert, select

from db.models.catalog import Galaxy, Lens
from db.models.imaging import Cutout, Validation
from db.models.sampling import Draw, DrawMember, SplitAssignment, SplitCell, SplitScheme, Stratum
from db.provenance import recorded_run
from db.settings import settings
from etl.cutouts.files import REQUIRED_META, write_cutout
from etl.cutouts.files import Cutout as CutoutFile
from etl.storage import open_store
from training.config import TrainConfig
from training.fit import Part
from training.preprocess import Preprocessing, preprocess

Pixels = npt.NDArray[np.float32]
SMALL = Preprocessing(crop_px=32, annulus_inner_px=12, annulus_outer_px=16)
"""A quarter of the usual pixels, so that the tests take a quarter of the time."""


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads that wait for each other lose more time than they save on batches as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small() -> Preprocessing:
    return SMALL


def _ring_cutouts(n: int, seed: int) -> tuple[Pixels, npt.NDArray[np.int8]]:
    """Noise and a round galaxy everywhere; every third one also has a bright ring of radius 8 px."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 3 == 0).astype(np.int8)
    offset = np.arange(101) - 50
    radius = np.hypot(offset[:, None], offset[None, :])
    galaxy = np.exp(-radius / 3)
    ring = np.exp(-0.5 * ((radius - 8) / 1.2) ** 2)
    flux = rng.uniform(0.1, 0.5, n)[:, None, None]
    image = flux * galaxy + 0.2 * label[:, None, None] * ring
    pixels = image[..., None] + rng.normal(0, 0.02, (n, 101, 101, 3))
    return pixels.astype(np.float32), label


@pytest.fixture
def ring_cutouts() -> Callable[[int, int], tuple[Pixels, npt.NDArray[np.int8]]]:
    """Make (pixels, labels) of n cutouts from a seed."""
    return _ring_cutouts


@pytest.fixture
def ring_part() -> Callable[[int, int], Part]:
    """Make a part of n preprocessed cutouts from a seed."""

    def make(n: int, seed: int) -> Part:
        pixels, label = _ring_cutouts(n, seed)
        labels = torch.from_numpy(label).float()
        images = torch.from_numpy(preprocess(pixels, SMALL))
        return Part(images, labels, torch.ones(n), labels, 1000 * seed + torch.arange(n))

    return make


@pytest.fixture
def recipe() -> Callable[..., TrainConfig]:
    """Make a small recipe; any key can be given."""

    def make(**keys: object) -> TrainConfig:
        base: dict[str, object] = {
            "name": "tiny",
            "draw": "rings",
            "scheme": "cells",
            "preprocessing": SMALL,
            "batch_size": 16,
            "epochs": 4,
            "learning_rate": 1e-3,
            "balance": "sampling",
            "device": "cpu",
        }
        return TrainConfig.model_validate(base | keys)

    return make


@dataclass(frozen=True)
class World:
    """What the database of a test holds: cutouts in the order of their ids."""

    pixels: Pixels
    labels: npt.NDArray[np.int8]
    uris: list[str]
    cutout_ids: list[int]


N_TRAIN, N_VAL, N_TEST = 120, 45, 45


@pytest.fixture
def world(engine: Engine) -> World:
    """A draw `rings` and a scheme `cells` with 210 cutouts: 120 train, 45 val, 45 test."""
    n = N_TRAIN + N_VAL + N_TEST
    pixels, labels = _ring_cutouts(n, seed=5)
    with recorded_run(engine, command="test world", config={}) as run, engine.begin() as connection:

        def add(table: Any, key: Any, rows: list[dict[str, Any]]) -> list[int]:
            statement = insert(table).returning(key, sort_by_parameter_order=True)
            return list(connection.execute(statement, rows).scalars())

        origin = {"run_id": run.run_id}
        (draw,) = add(
            Draw,
            Draw.draw_id,
            [
                {
                    "name": "rings",
                    "survey": "mock",
                    "data_release": 10,
                    "seed": 1,
                    "config_sha256": run.config_sha256,
                    "n_lenses_known": n,
                    "n_galaxies": n,
                    **origin,
                }
            ],
        )
        (scheme,) = add(
            SplitScheme,
            SplitScheme.scheme_id,
            [
                {
                    "name": "cells",
                    "nside": 128,
                    "seed": 1,
                    "train_below": 0.7,
                    "val_below": 0.85,
                    "guard_arcsec": 30.0,
                    **origin,
                }
            ],
        )
        counts = [column.name for column in Stratum.__table__.columns if column.name.startswith("n_")]
        (stratum,) = add(
            Stratum,
            Stratum.stratum_id,
            [{"draw_id": draw, "nobs_z_bin": "3-5", "type": "SER", **dict.fromkeys(counts, 0)}],
        )
        splits = ["train"] * N_TRAIN + ["val"] * N_VAL + ["test"] * N_TEST
        add(
            SplitCell,
            SplitCell.healpix_128,
            [{"scheme_id": scheme, "healpix_128": i, "split": split} for i, split in enumerate(splits)],
        )
        add(
            SplitAssignment,
            SplitAssignment.draw_id,
            [{"scheme_id": scheme, "draw_id": draw, "n_close_pairs": 0, "n_guard_drops": 0, **origin}],
        )
        place = [{"ra": 1.0 + i, "dec": 0.0, "healpix_128": i} for i in range(n)]
        positives, negatives = np.flatnonzero(labels == 1).tolist(), np.flatnonzero(labels == 0).tolist()
        kind = {"lens_type": "galaxy", "discovery": "ground_imaging", "is_lens_claim": True}
        lenses = add(
            Lens,
            Lens.lens_id,
            [{"name": f"L{i}", "tier": "AB"[i % 2], **kind, **place[i]} for i in positives],
        )
        galaxies = add(
            Galaxy, Galaxy.ls_id, [_galaxy_row() | {"ls_id": (9990 << 40) + i, **place[i]} for i in negatives]
        )
        who: list[dict[str, Any]] = [{} for _ in range(n)]
        for i, lens in zip(positives, lenses, strict=True):
            who[i] = {"lens_id": lens, "ls_id": None}
        for i, galaxy in zip(negatives, galaxies, strict=True):
            who[i] = {"lens_id": None, "ls_id": galaxy}
        add(
            DrawMember,
            DrawMember.member_id,
            [
                {
                    "draw_id": draw,
                    "label": int(labels[i]),
                    "pool": "positive" if labels[i] else "N1",
                    "tier": "AB"[i % 2] if labels[i] else None,
                    "weight": 0.5 if labels[i] and i % 2 else 1.0,
                    "inclusion_probability": None if labels[i] else 0.5,
                    "stratum_id": stratum,
                    **who[i],
                    **place[i],
                }
                for i in range(n)
            ],
        )
        files = [_cutout_bytes(pixels[i]) for i in range(n)]
        store = open_store(settings().store)
        uris = [store.put_bytes(f"cutouts/test/{i}.npz", data) for i, data in enumerate(files)]
        ids = add(
            Cutout,
            Cutout.cutout_id,
            [
                {
                    "survey": "mock",
                    "data_release": 10,
                    "ra": place[i]["ra"],
                    "dec": 0.0,
                    "version": "v1",
                    "layer": "mock",
                    "source": "coadd",
                    "brickname": "0001p000",
                    "uri": uris[i],
                    "sha256": hashlib.sha256(files[i]).hexdigest(),
                    "n_bytes": len(files[i]),
                    "bands": "grz",
                    "n_pixels": 101,
                    "pixel_scale_arcsec": 0.262,
                    "nan_fraction": 0.0,
                    "status": "ok",
                    **who[i],
                    **origin,
                }
                for i in range(n)
            ],
        )
        verdict = {"draw_id": draw, "version": "v1", "is_go": True, "n_cutouts": n, "n_quarantined": 0, **origin}
        lines = "".join(f"{key} {hashlib.sha256(data).hexdigest()}\n" for key, data in zip(ids, files, strict=True))
        digest = hashlib.sha256(lines.encode()).hexdigest()
        connection.execute(insert(Validation).values(verdict | {"cutouts_sha256": digest}))
    with engine.connect() as connection:
        assert list(connection.scalars(select(Cutout.cutout_id).order_by(Cutout.cutout_id))) == ids
    return World(pixels, labels, uris, ids)


def _galaxy_row() -> dict[str, Any]:
    words = {"survey": "mock", "data_release": 10, "type": "SER", "is_imported": False}
    names = [column.name for column in Galaxy.__table__.columns if column.name not in words]
    return dict.fromkeys(names, 1) | words


def _cutout_bytes(pixels: Pixels) -> bytes:
    values = ("x", 1.0, 0.0, 101, 0.262, "mock")
    return write_cutout(CutoutFile(pixels, dict(zip(REQUIRED_META, values, strict=True))))
