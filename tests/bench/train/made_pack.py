"""A pack of noise, written by its own writer out of real npz files."""

from __future__ import annotations

from pathlib import Path

from etl.storage import LocalStore
from tests.bench.cutouts.packing import manifest_of, npz_files
from training.packs.layout import Layout
from training.packs.read import Pack, PackFile, PackFiles, open_pack
from training.packs.write import write_index, write_shard

N_FILES = 1024
SHARD_ROWS = 4096


def made_pack(folder: Path, n: int, crop_px: int) -> Pack:
    """A pack of `n` cutouts in float16, made of 1,024 files, each of which stands for many cutouts."""
    store = LocalStore(folder / "store")
    manifest = manifest_of(npz_files(store, min(n, N_FILES)), n)
    layout = Layout(crop_px, "float16", n, min(n, SHARD_ROWS))
    written = [write_shard(manifest, layout, shard, (store, "pack")) for shard in range(layout.n_shards)]
    index = write_index(manifest, (store, "pack"))
    *shards, last = (PackFile(store.root / store.key(f.uri), f.sha256, f.n_bytes) for f in (*written, index))
    return open_pack(PackFiles("pack", layout, tuple(shards), last, "pack again"))
