"""Packs against a real database and store: the pixels of the npz files, whole, in order, and nothing else."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyarrow import parquet
from sqlalchemy import Engine, func, select, update

from db.models import Split
from db.models.imaging import Cutout, Pack, PackShard
from db.models.provenance import Run
from db.models.training import Epoch, Score
from db.settings import CHECKOUT, settings
from etl.storage import open_store
from training.config import TrainConfig
from training.errors import ManifestError, PackError
from training.images import ahead
from training.manifest import named_manifest
from training.packs.write import PackConfig, write_pack
from training.preprocess import Preprocessing, preprocess
from training.score import score_model
from training.source import PackSource, Wanted, open_source
from training.train import train_model

Recipe = Callable[..., TrainConfig]
OF_RINGS = {"draw": "rings", "scheme": "cells", "crop_px": 40, "shard_mib": 0.5}
"""54 cutouts of 40 px in a shard of float16, so that 210 cutouts take four shards."""


def pack(engine: Engine, **keys: object) -> Any:
    return write_pack(engine, PackConfig.model_validate(OF_RINGS | keys))


def place(uri: str) -> Path:
    return Path(settings().store) / uri.removeprefix("store:")


def shards(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(PackShard.__table__).order_by(PackShard.pack_id, PackShard.shard)))


def counts(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in (Run, Pack, PackShard)]


def written(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*.*"))}


def of_float16(pixels: np.ndarray) -> np.ndarray:
    """Rounding by definition: to the nearest value that float16 has, ties to even."""
    with np.errstate(over="ignore"):
        return pixels.astype(np.float16)


def test_a_pack_holds_the_manifests_cutouts_in_order_cropped_about_the_centre(engine: Engine, world: Any) -> None:
    done = pack(engine)
    rows = shards(engine)
    assert [row.n_rows for row in rows] == [54, 54, 54, 48]
    assert [row.first_row for row in rows] == [0, 54, 108, 162]
    assert (done.n_cutouts, done.n_shards, done.n_written) == (210, 4, 4)
    assert done.n_bytes == sum(row.n_bytes for row in rows)
    held = np.concatenate([np.load(place(row.uri), mmap_mode="r", allow_pickle=False) for row in rows])
    assert held.dtype == np.dtype("<f2")
    np.testing.assert_array_equal(held, of_float16(world.pixels[:, 30:70, 30:70, :]))  # pixel 50 becomes pixel 20
    for row in rows:
        data = place(row.uri).read_bytes()
        assert (row.sha256, row.n_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    with engine.connect() as connection:
        about = connection.execute(select(Pack.__table__)).one()
    assert (about.status, about.bands, about.axis_order, about.format) == ("complete", "grz", "cutout,y,x,band", "npy")
    assert about.manifest_sha256 == named_manifest(engine, "rings", "cells", "v1").digest()
    index = parquet.read_table(place(about.index_uri))
    assert index["cutout_id"].to_pylist() == world.cutout_ids
    files = [hashlib.sha256(place(uri).read_bytes()).hexdigest() for uri in world.uris]
    assert index["sha256"].to_pylist() == files
    assert about.index_sha256 == hashlib.sha256(place(about.index_uri).read_bytes()).hexdigest()


def test_a_second_run_writes_nothing_and_a_lost_or_altered_file_comes_back_with_its_bytes(
    engine: Engine, world: Any
) -> None:
    pack(engine)
    store = Path(settings().store)
    before, rows = written(store), counts(engine)
    assert pack(engine, shard_mib=1).n_written == 0  # the pack that is there keeps the size of its shards
    assert (written(store), counts(engine)) == (before, rows)

    first, second = place(shards(engine)[0].uri), place(shards(engine)[1].uri)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-2] + b"??")
    assert pack(engine).n_written == 2
    assert {name: data for name, (_, data) in written(store).items()} == {
        name: data for name, (_, data) in before.items()
    }


def test_a_manifest_that_changed_gets_a_pack_of_its_own(engine: Engine, world: Any) -> None:
    one = pack(engine)
    with engine.begin() as connection:
        connection.execute(
            update(Cutout)
            .where(Cutout.cutout_id == world.cutout_ids[7])
            .values(uri=None, sha256=None, n_bytes=None, status="rejected", reject_reason="test")
        )
    two = pack(engine)
    assert two.pack_id != one.pack_id
    assert (two.n_cutouts, two.n_written) == (209, 4)
    manifest = named_manifest(engine, "rings", "cells", "v1")
    rules = Preprocessing(crop_px=32, annulus_inner_px=12, annulus_outer_px=16, pixel_dtype="float16")
    source = open_source(engine, Wanted(manifest, rules, "pack"), open_store(settings().store))
    kept = np.delete(world.pixels, 7, axis=0)
    found = source.images(manifest, lambda *_: None)[:]
    np.testing.assert_array_equal(found.numpy(), preprocess(kept, rules))


KILLED = """
import os, signal, sys
from db.engine import open_engine
from training.packs import write
from training.packs.write import PackConfig, write_pack
put, n_put = write._put, 0
def put_and_die(store, key, stream):
    global n_put
    n_put += 1
    if n_put == 3:  # in mid-write: part of the third shard is on the disk
        class Half:
            def __init__(self): self.n = 0
            def read(self, n):
                self.n += 1
                if self.n > 1: os.kill(os.getpid(), signal.SIGKILL)
                return bytes(stream)[:1000]
        store.put_stream(key, Half())
    return put(store, key, stream)
write._put = put_and_die
write_pack(open_engine(), PackConfig(draw="rings", scheme="cells", crop_px=40, shard_mib=0.5))
"""


def test_a_run_killed_in_mid_write_goes_on_with_the_shards_that_it_lacks(engine: Engine, world: Any) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    rows = shards(engine)
    assert [row.shard for row in rows] == [0, 1]
    folder = place(rows[0].uri).parent
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".part-")} == {"00000.npy", "00001.npy"}
    with engine.connect() as connection:
        assert connection.scalars(select(Pack.status)).all() == ["writing"]
    rules = Preprocessing(crop_px=32, annulus_inner_px=12, annulus_outer_px=16, pixel_dtype="float16")
    wanted = Wanted(named_manifest(engine, "rings", "cells", "v1"), rules, "pack")
    with pytest.raises(PackError, match=r"packs of it: none.*stronglens store pack --crop 32 --dtype float16"):
        open_source(engine, wanted, open_store(settings().store))
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    assert pack(engine).n_written == 2
    assert all((folder / name).stat().st_mtime_ns == at for name, at in kept.items())
    held = np.concatenate([np.load(place(row.uri)) for row in shards(engine)])
    np.testing.assert_array_equal(held, of_float16(world.pixels[:, 30:70, 30:70, :]))


def test_an_altered_npz_file_is_never_packed(engine: Engine, world: Any) -> None:
    path = place(world.uris[100])
    data = path.read_bytes()
    path.write_bytes(data[:5000] + b"?" + data[5001:])
    with pytest.raises(ManifestError, match="altered since it was made"):
        pack(engine)
    assert [row.shard for row in shards(engine)] == [0]  # the shard before its own
    path.write_bytes(data)
    assert pack(engine).n_written == 3


def test_npz_and_pack_give_the_same_tensors_bit_for_bit(engine: Engine, world: Any, small: Preprocessing) -> None:
    soft = {"crop_px": 33, "annulus_inner_px": 5.0, "annulus_outer_px": 9.5, "scaling": "asinh"}
    manifest, store = named_manifest(engine, "rings", "cells", "v1"), open_store(settings().store)
    for keys in ({}, soft, {"pixel_dtype": "float16"}, soft | {"pixel_dtype": "float16"}):
        rules = small.model_copy(update=keys)
        pack(engine, dtype=rules.pixel_dtype)
        npz, packed = (open_source(engine, Wanted(manifest, rules, source), store) for source in ("npz", "pack"))
        assert isinstance(packed, PackSource)
        for part in (manifest.part(Split.VAL), manifest.rows(slice(50, 60))):
            both = [source.images(part, lambda *_: None) for source in (npz, packed)]
            assert len(both[0]) == len(both[1]) == len(part)
            chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(1))
            for rows in (slice(None), slice(3, 9), chosen, chosen[:0]):
                of_files, of_pack = (images[rows] for images in both)
                assert of_pack.is_contiguous(memory_format=torch.channels_last)
                assert of_files.numpy().tobytes() == of_pack.numpy().tobytes()


def test_pixels_beyond_float16_and_without_data_are_packed_as_the_preprocessing_rounds_them(
    engine: Engine, world: Any, small: Preprocessing
) -> None:
    rules = small.model_copy(update={"pixel_dtype": "float16"})
    pixels = world.pixels[:2].copy()
    pixels[0, 50, 50] = (1e6, -1e6, 65504)
    pixels[1, 50, 50] = (np.nan, np.inf, -np.inf)
    images = preprocess(pixels, rules)
    np.testing.assert_array_equal(images[0, :, 16, 16], [10, -10, 10])
    np.testing.assert_array_equal(images[1, :, 16, 16], [0, 0, 0])


def test_a_training_and_its_scores_are_the_same_from_npz_and_from_a_pack(
    engine: Engine, world: Any, recipe: Recipe, small: Preprocessing
) -> None:
    rounded = {"preprocessing": small.model_copy(update={"pixel_dtype": "float16"}), "epochs": 2}
    pack(engine)
    for source in ("npz", "pack"):
        train_model(engine, recipe(name=source, **rounded), source=source)
    for row in shards(engine):  # from here on a pack that is read is noticed
        place(row.uri).rename(place(row.uri).with_suffix(".aside"))
    score_model(engine, "npz", source="npz")
    with pytest.raises(PackError, match=r"00000\.npy: cannot be read .*stronglens store pack"):
        score_model(engine, "pack")
    for row in shards(engine):
        place(row.uri).with_suffix(".aside").rename(place(row.uri))
    score_model(engine, "pack")
    columns = [column for column in Epoch.__table__.columns if column.name not in ("model_id", "seconds")]
    with engine.connect() as connection:
        epochs = connection.execute(select(*columns).order_by(Epoch.model_id, Epoch.epoch)).all()
        scores = connection.scalars(select(Score.score).order_by(Score.model_id, Score.cutout_id)).all()
    assert epochs[:2] == epochs[2:]
    assert len(scores) == 420
    assert scores[:210] == scores[210:]


def test_a_damaged_pack_is_refused_in_one_line_that_names_the_file(
    engine: Engine, world: Any, small: Preprocessing
) -> None:
    pack(engine)
    rules = small.model_copy(update={"pixel_dtype": "float16"})
    wanted, store = Wanted(named_manifest(engine, "rings", "cells", "v1"), rules, "auto"), open_store(settings().store)
    with engine.connect() as connection:
        uris = [shards(engine)[2].uri, str(connection.scalar(select(Pack.index_uri)))]
    for path in map(place, uris):
        data = path.read_bytes()
        for damaged in (data[:-1], data[:200] + bytes([data[200] ^ 1]) + data[201:], None):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(PackError, match="stronglens store pack") as caught:
                open_source(engine, wanted, store)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
            path.write_bytes(data)
    assert isinstance(open_source(engine, wanted, store), PackSource)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(engine: Engine, world: Any, small: Preprocessing) -> None:
    pack(engine)
    rules = small.model_copy(update={"pixel_dtype": "float16"})
    manifest = named_manifest(engine, "rings", "cells", "v1")
    source = open_source(engine, Wanted(manifest, rules, "pack"), open_store(settings().store))
    images = source.images(manifest, lambda *_: None)
    os.truncate(place(shards(engine)[3].uri), 1000)
    images[:150]
    with pytest.raises(PackError, match="got shorter"):
        images[:]


def test_a_pack_that_does_not_fit_is_refused_or_passed_over(engine: Engine, world: Any, small: Preprocessing) -> None:
    pack(engine)  # 40 px, float16
    manifest, store = named_manifest(engine, "rings", "cells", "v1"), open_store(settings().store)
    larger = Preprocessing(pixel_dtype="float16")
    for rules, named in ((small, "32 px as float32"), (larger, "64 px as float16")):
        with pytest.raises(PackError, match=rf"{named} \(packs of it: 40 px float16\)"):
            open_source(engine, Wanted(manifest, rules, "pack"), store)
        assert not isinstance(open_source(engine, Wanted(manifest, rules, "auto"), store), PackSource)


def test_a_crop_larger_than_the_cutouts_is_refused(engine: Engine, world: Any) -> None:
    with engine.begin() as connection:
        connection.execute(update(Cutout).values(n_pixels=39))
    with pytest.raises(PackError, match="on 39 px: a pack takes 'grz' and at least --crop 40"):
        pack(engine)


def test_the_command_packs_and_says_so(engine: Engine, world: Any, run_cli: Any) -> None:
    arguments = ("store", "pack", "--draw", "rings", "--scheme", "cells", "--crop", "32", "--dtype", "float32")
    done = run_cli(*arguments)
    assert done.returncode == 0, done.stderr
    assert "210 cutouts in 1 shards" in done.stdout
    assert "1 written now" in done.stdout
    refused = run_cli("store", "pack", "--draw", "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "draw 'nowhere' is not there" in refused.stderr


def test_batches_made_ahead_come_in_order_and_an_error_in_one_is_raised() -> None:
    images = torch.arange(40.0)[:, None]
    batches = [torch.tensor([first, first + 1]) for first in range(0, 40, 2)]
    given = list(ahead(images, batches))
    assert torch.equal(torch.cat([rows for rows, _ in given]), torch.arange(40))
    assert all(torch.equal(batch, images[rows]) for rows, batch in given)
    with pytest.raises(IndexError):
        list(ahead(images, [torch.tensor([1]), torch.tensor([99])]))
