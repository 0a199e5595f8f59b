"""Snapshots: what the database knows of a manifest, sealed in a folder that trains where there is no database."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pyarrow import parquet
from sqlalchemy import Engine, delete, select, text, update

from db import migrate
from db.models.imaging import Pack, Validation
from db.models.training import Epoch, Model
from training.config import TrainConfig
from training.errors import GateError, PackError, RunError, SnapshotError
from training.packs.write import PackConfig, write_pack
from training.preprocess import Preprocessing
from training.snapshot.export import ExportConfig, export_snapshot
from training.snapshot.read import Snapshot
from training.snapshot.train import train_on_snapshot
from training.train import train_model

Recipe = Callable[..., TrainConfig]
OF_RINGS = {"draw": "rings", "scheme": "cells"}
FLOAT16 = {"pixel_dtype": "float16"}


@pytest.fixture
def packed(engine: Engine, world: Any) -> Engine:
    """The world of rings with a pack of 32 px in three shards."""
    write_pack(engine, PackConfig.model_validate(OF_RINGS | {"crop_px": 32, "shard_mib": 0.5}))
    return engine


def export(engine: Engine, folder: Path, **keys: object) -> Any:
    return export_snapshot(engine, ExportConfig.model_validate(OF_RINGS | keys), folder)


def test_a_snapshot_holds_every_column_of_the_manifest_and_seals_every_file(packed: Engine, tmp_path: Path) -> None:
    done = export(packed, tmp_path / "a")
    with packed.connect() as connection:
        rows = connection.execute(text("SELECT * FROM results.manifest ORDER BY cutout_id")).mappings().all()
        stored = connection.execute(select(Pack.__table__)).one()
    table = parquet.read_table(tmp_path / "a" / "manifest.parquet")
    assert table.to_pylist() == [dict(row) for row in rows]
    assert table.schema.field("ra").metadata == {b"unit": b"deg, ICRS"}
    body = json.loads((tmp_path / "a" / "snapshot.json").read_text())
    assert (body["survey"], body["gate"], body["schema_revision"]) == ("mock", "GO", migrate.head())
    assert (body["draw"], body["scheme"], body["cutout_version"]) == ("rings", "cells", "v1")
    assert body["manifest_sha256"] == stored.manifest_sha256
    assert body["pack"]["crop_px"] == 32
    files = {str(path.relative_to(tmp_path / "a")): path for path in (tmp_path / "a").rglob("*") if path.is_file()}
    sealed = {name: seal["sha256"] for name, seal in body["files"].items()}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == sealed | {
        "snapshot.json": done.sha256
    }
    assert len((tmp_path / "a" / "README.txt").read_text().splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["a"]  # no temporary folder is left
    assert export(packed, tmp_path / "b").sha256 == done.sha256  # the same manifest, the same snapshot


def test_a_snapshot_trains_as_the_database_does_on_a_host_that_has_none(
    packed: Engine, tmp_path: Path, recipe: Recipe, small: Preprocessing, run_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = recipe(epochs=2, preprocessing=small.model_copy(update=FLOAT16), draw="elsewhere")
    export(packed, tmp_path / "snapshot")
    train_model(packed, of.model_copy(update={"draw": "rings"}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(of.model_dump(mode="json")))
    (tmp_path / "a file").write_text("here no server can keep its data")
    monkeypatch.delenv("STRONGLENS_DATABASE_URL")
    alone = {"STRONGLENS_HOME": str(tmp_path / "a file"), "HOME": str(tmp_path / "a file"), "PGHOST": "nowhere.invalid"}
    assert run_cli("db", "current", **alone).returncode != 0
    out = tmp_path / "runs" / "one"
    arguments = ("train", str(tmp_path / "recipe.yaml"), "--manifest", str(tmp_path / "snapshot"), "--out", str(out))
    done = run_cli(*arguments, **alone)
    assert done.returncode == 0, done.stderr
    assert "120 cutouts, validated on 45" in done.stdout
    assert f"stronglens training import {out}" in done.stdout
    names = ["checkpoint.pt", "epochs.jsonl", "run.json", "scores.parquet"]
    assert sorted(path.name for path in out.iterdir()) == names

    columns = [column for column in Epoch.__table__.columns if column.name not in ("model_id", "seconds")]
    with packed.connect() as connection:
        epochs = connection.execute(select(*columns).order_by(Epoch.epoch)).mappings().all()
        model = connection.execute(select(Model.__table__)).one()
    found = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in epochs[0]} for row in found] == [dict(row) for row in epochs]
    body = torch.load(out / "checkpoint.pt", weights_only=True)
    assert (body["manifest_sha256"], body["config"]["draw"]) == (model.manifest_sha256, "rings")
    run = json.loads((out / "run.json").read_text())
    description = (tmp_path / "snapshot" / "snapshot.json").read_bytes()
    assert run["snapshot"] == {"sha256": hashlib.sha256(description).hexdigest(), "gate": "GO"}
    assert run["manifest"]["sha256"] == model.manifest_sha256
    assert model.checkpoint_sha256 == run["files"]["checkpoint.pt"]["sha256"]  # the very same weights
    assert run["recipe"] == of.model_copy(update={"draw": "rings"}).model_dump(mode="json")

    again = run_cli("train", str(tmp_path / "recipe.yaml"), "--snapshot", str(tmp_path / "snapshot"), *arguments[-2:])
    assert "already trained, best epoch" in again.stdout
    with pytest.raises(RunError, match="finished training of another recipe"):
        train_on_snapshot(tmp_path / "snapshot", of.model_copy(update={"seed": 1}), out)
    assert "--out FOLDER goes with --manifest SNAPSHOT" in run_cli(*arguments[:2], *arguments[-2:], **alone).stderr


def test_a_damaged_snapshot_is_refused_in_one_line_that_names_the_file(packed: Engine, tmp_path: Path) -> None:
    export(packed, tmp_path / "snapshot")
    for name in ("manifest.parquet", "pack/00001.npy", "pack/index.parquet", "snapshot.json"):
        path = tmp_path / "snapshot" / name
        data = path.read_bytes()
        place = data.index(b'"pack"') + 1 if name == "snapshot.json" else len(data) // 2
        for damaged in (data[:-9], data[:place] + b"?" + data[place + 1 :], None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises((SnapshotError, PackError)) as caught:
                Snapshot.open(tmp_path / "snapshot")
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
            path.write_bytes(data)
    Snapshot.open(tmp_path / "snapshot")


def test_files_of_two_snapshots_do_not_pass_for_one(packed: Engine, tmp_path: Path) -> None:
    """Every file is sealed by its own snapshot, even where both are sound."""
    export(packed, tmp_path / "one")
    with packed.begin() as connection:
        connection.execute(text("UPDATE sampling.draw_member SET weight = 0.25 WHERE label = 1"))
    export(packed, tmp_path / "two")
    shutil.copy(tmp_path / "two" / "manifest.parquet", tmp_path / "one" / "manifest.parquet")
    with pytest.raises(PackError, match=r"manifest\.parquet: altered"):
        Snapshot.open(tmp_path / "one")
    weights = Snapshot.open(tmp_path / "two").manifest
    assert set(weights.weight[weights.label == 1].tolist()) == {0.25}


def test_an_export_is_whole_or_not_there(packed: Engine, tmp_path: Path, world: Any) -> None:
    with packed.connect() as connection:
        uri = connection.scalar(text("SELECT uri FROM imaging.pack_shard WHERE shard = 2"))
    path = tmp_path / "home" / "store" / uri.removeprefix("store:")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    with pytest.raises(PackError, match="altered since it was written"):
        export(packed, tmp_path / "out" / "snapshot")
    assert list((tmp_path / "out").iterdir()) == []
    path.write_bytes(data)
    (tmp_path / "out" / "snapshot").mkdir()
    (tmp_path / "out" / "snapshot" / "mine").touch()
    with pytest.raises(SnapshotError, match="is there already"):
        export(packed, tmp_path / "out" / "snapshot")
    with pytest.raises(PackError, match="no such pack: run `stronglens store pack --draw rings"):
        export(packed, tmp_path / "out" / "other", dtype="float32")
    (tmp_path / "out" / "snapshot" / "mine").unlink()
    export(packed, tmp_path / "out" / "snapshot")
    opened = Snapshot.open(tmp_path / "out" / "snapshot")
    assert opened.manifest.cutout_id.tolist() == world.cutout_ids
    rows = np.array([200, 3])
    crop = world.pixels[rows][:, 34:66, 34:66].astype(np.float16)
    np.testing.assert_array_equal(opened.pack.take(rows), crop)


def test_a_snapshot_carries_the_verdict_of_its_draw_and_training_obeys_it(
    packed: Engine, tmp_path: Path, recipe: Recipe, small: Preprocessing
) -> None:
    of = recipe(epochs=1, epoch_images=32, preprocessing=small.model_copy(update=FLOAT16))
    for number, (change, verdict) in enumerate(
        [
            (update(Validation).values(is_go=False), "NO-GO"),
            (update(Validation).values(cutouts_sha256="0" * 64), "changed since"),
            (delete(Validation), "not validated"),
        ]
    ):
        with packed.begin() as connection:
            connection.execute(change)
        folder = tmp_path / f"snapshot{number}"
        assert export(packed, folder).description.gate == verdict
        with pytest.raises(GateError, match=f"was '{verdict}'.*--accept-gate"):
            train_on_snapshot(folder, of, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    accepted = of.model_copy(update={"accept_gate": "a test"})
    run, was_there = train_on_snapshot(tmp_path / "snapshot2", accepted, tmp_path / "out")
    assert (was_there, run.description.snapshot.gate) == (False, "not validated")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["recipe"]["accept_gate"] == "a test"


def test_a_recipe_that_the_snapshots_pack_does_not_fit_is_refused(
    packed: Engine, tmp_path: Path, recipe: Recipe, small: Preprocessing
) -> None:
    export(packed, tmp_path / "snapshot")
    for keys, named in (({}, "32 px as float32"), ({"crop_px": 40} | FLOAT16, "40 px as float16")):
        of = recipe(preprocessing=small.model_copy(update=keys))
        with pytest.raises(PackError, match=f"crops of 32 px as float16, the preprocessing takes {named}"):
            train_on_snapshot(tmp_path / "snapshot", of, tmp_path / "out")
        assert not (tmp_path / "out").exists()
