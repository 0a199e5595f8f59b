"""The benchmark of packed loading compares like with like: every way to load gives the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etl.cutouts.files import read_pixels
from etl.storage import LocalStore
from tests.bench.cutouts import packing
from training.packs.layout import Layout
from training.packs.read import PackFile, PackFiles, open_pack
from training.packs.write import write_index, write_shard
from training.preprocess import preprocess


def test_every_way_to_load_gives_the_pixels_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SHARD_ROWS", 13)
    monkeypatch.setattr(packing, "ARROW_ROWS", 8)
    store = LocalStore(tmp_path / "store")
    manifest = packing.manifest_of(packing.npz_files(store, 20), 30)
    layout = Layout(packing.CROP, "float16", 30, packing.SHARD_ROWS)
    written = [write_shard(manifest, layout, shard, (store, "pack")) for shard in range(layout.n_shards)]
    *shards, index = (
        PackFile(store.root / store.key(file.uri), file.sha256, file.n_bytes)
        for file in (*written, write_index(manifest, (store, "pack")))
    )
    pack = open_pack(PackFiles("pack", layout, tuple(shards), index, "pack again"))
    rows = np.random.default_rng(1).permutation(30)[:17]
    cutouts = np.stack([read_pixels(store.get_bytes(uri)) for uri in manifest.uri[rows]])
    expected = cutouts[:, 18:82, 18:82].astype(np.float16)
    loaders = packing._loaders(store, manifest, pack, tmp_path)
    images, _ = loaders.pop("pack, preprocessed for the network")
    np.testing.assert_array_equal(images(rows), preprocess(cutouts, packing.RULES))
    assert len(loaders) == 6
    for name, (load, _) in loaders.items():
        np.testing.assert_array_equal(load(rows), expected, err_msg=name)
