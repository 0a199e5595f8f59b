"""Loading cutouts to train on: from a pack, against npz files and against other ways to read the same pixels.

"Loaded" is a batch of 64 x 64 x 3 float16 that lies contiguous in memory; two threads load batches side by side, from
files that the system has in its cache. The pack is made by its own writer out of 4,000 npz files, each of which stands
for many cutouts of the manifest; npz files are loaded for a twentieth of it.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from rich.console import Console

from etl.cutouts.files import REQUIRED_META, Cutout, read_pixels, write_cutout
from etl.storage import LocalStore
from tests.bench.cutouts.sizes import Sizes
from tests.bench.limits import Measure, median, ratio
from tests.plain_manifest import plain_manifest
from training.manifest import Manifest
from training.packs.layout import Layout, row_bytes
from training.packs.read import Pack, PackedImages, PackFile, PackFiles, open_pack
from training.packs.write import write_index, write_shard
from training.preprocess import Preprocessing, central

CROP = 64
BATCHES = (256, 1024)
N_THREADS = 2
N_FILES = 4000
N_REPEATS = 3
ARROW_ROWS = 4096
SHARD_ROWS = (256 << 20) // row_bytes(CROP, "float16")
RULES = Preprocessing(pixel_dtype="float16")

Rows = npt.NDArray[np.int64]
Load = Callable[[Rows], npt.NDArray[np.float16]]


def measure(folder: Path, sizes: Sizes, out: Console) -> list[Measure]:
    """Write npz files and a pack of them, then load both in several ways, one after the other in every round."""
    store = LocalStore(folder / "store")
    n_files = min(N_FILES, sizes.n_packed)
    with out.status(f"writing {n_files:,} npz files"):
        files = npz_files(store, n_files)
    manifest = manifest_of(files, sizes.n_packed)
    layout = Layout(CROP, "float16", sizes.n_packed, SHARD_ROWS)
    with out.status(f"packing {sizes.n_packed:,} cutouts"):
        start = time.perf_counter()
        written = [write_shard(manifest, layout, shard, (store, "pack")) for shard in range(layout.n_shards)]
        packing_s = time.perf_counter() - start
        index = write_index(manifest, (store, "pack"))
    *shards, last = (PackFile(store.root / store.key(f.uri), f.sha256, f.n_bytes) for f in (*written, index))
    start = time.perf_counter()
    pack = open_pack(PackFiles("pack", layout, tuple(shards), last, "pack again"))
    opening_s = time.perf_counter() - start
    loaders = _loaders(store, manifest, pack, folder)
    samples: dict[tuple[str, int], list[float]] = {}
    with out.status("loading") as status:
        for repeat in range(N_REPEATS):
            order = np.random.default_rng(repeat).permutation(sizes.n_packed)
            for name, (load, share) in loaders.items():
                status.update(f"loading: {name}")
                rows = np.sort(order) if "in order" in name else order[: max(1, len(order) // share)]
                for batch in BATCHES:
                    samples.setdefault((name, batch), []).append(_rate(load, rows, batch))
    return _measures(samples, layout, sizes, (packing_s, opening_s))


def npz_files(store: LocalStore, n: int) -> list[tuple[str, str]]:
    """Write cutouts of noise, in real files; returns address and SHA-256 of each."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 0.02, (64, 101, 101, 3)).astype(np.float32)
    values = ("x", 1.0, 0.0, 101, 0.262, "mock")
    files = []
    for number in range(n):
        pixels = noise[number % len(noise)] + np.float32(number)
        data = write_cutout(Cutout(pixels, dict(zip(REQUIRED_META, values, strict=True))))
        uri = store.put_bytes(f"cutouts/{number % 256:02x}/{number}.npz", data)
        files.append((uri, hashlib.sha256(data).hexdigest()))
    return files


def manifest_of(files: Sequence[tuple[str, str]], n: int) -> Manifest:
    """A manifest of `n` cutouts, which share the files there are."""
    uri, sha256 = (np.array(column)[np.arange(n) % len(files)] for column in zip(*files, strict=True))
    return plain_manifest(n, uri=uri, sha256=sha256)


def _loaders(store: LocalStore, manifest: Manifest, pack: Pack, folder: Path) -> dict[str, tuple[Load, int]]:
    """Ways to load rows, each with the share of the pack that it can load in decent time (1/share)."""
    images = PackedImages(pack, np.arange(len(manifest)), RULES)
    maps = [np.load(path, mmap_mode="r") for path in sorted((store.root / "pack").glob("*.npy"))]
    arrow = _arrow_views(pack, folder / "pixels.arrow")

    def npz(rows: Rows) -> npt.NDArray[np.float16]:
        read = [np.load(io.BytesIO(store.get_bytes(uri)), allow_pickle=False)["cutout"] for uri in manifest.uri[rows]]
        return np.ascontiguousarray(central(np.stack(read), CROP), np.float16)

    def npz_verified(rows: Rows) -> npt.NDArray[np.float16]:
        read = []
        for uri, sha256 in zip(manifest.uri[rows].tolist(), manifest.sha256[rows].tolist(), strict=True):
            data = store.get_bytes(uri)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ValueError(uri)
            read.append(read_pixels(data, uri))
        return np.ascontiguousarray(central(np.stack(read), CROP), np.float16)

    def memmap(rows: Rows) -> npt.NDArray[np.float16]:
        return _gathered(maps, SHARD_ROWS, rows)

    def arrow_ipc(rows: Rows) -> npt.NDArray[np.float16]:
        return _gathered(arrow, ARROW_ROWS, rows)

    def preprocessed(rows: Rows) -> npt.NDArray[np.float16]:
        return images[torch.from_numpy(rows)].numpy()

    return {
        "pack, shuffled": (pack.take, 1),
        "pack, in order": (pack.take, 1),
        "npz files (numpy)": (npz, 20),
        "npz files (ours: strict, SHA-256)": (npz_verified, 20),
        "the pack's shards through numpy's memory map": (memmap, 1),
        "Arrow IPC, memory-mapped": (arrow_ipc, 1),
        "pack, preprocessed for the network": (preprocessed, 8),
    }


def _arrow_views(pack: Pack, path: Path) -> list[npt.NDArray[np.float16]]:
    """Write the pixels as Arrow IPC; views of its batches, without a copy, which is the fastest way to read it."""
    kind, n = pa.binary(row_bytes(CROP, "float16")), pack.layout.n_cutouts
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, pa.schema([("pixels", kind)])) as writer:
        for first in range(0, n, ARROW_ROWS):
            rows = pack.take(np.arange(first, min(first + ARROW_ROWS, n)))
            column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])
            writer.write_batch(pa.record_batch([column], ["pixels"]))
    chunks = pa.ipc.open_file(pa.memory_map(str(path))).read_all()["pixels"].chunks
    return [np.frombuffer(chunk.buffers()[1], np.float16).reshape(-1, CROP, CROP, 3) for chunk in chunks]


def _gathered(parts: Sequence[npt.NDArray[np.float16]], rows_of_part: int, rows: Rows) -> npt.NDArray[np.float16]:
    taken = np.empty((len(rows), CROP, CROP, 3), np.float16)
    part_of = rows // rows_of_part
    for part in np.unique(part_of).tolist():
        here = np.flatnonzero(part_of == part)
        taken[here] = parts[part][rows[here] - part * rows_of_part]
    return taken


def _rate(load: Load, rows: Rows, batch: int) -> float:
    batches = [rows[first : first + batch] for first in range(0, len(rows), batch)]

    def work(chosen: Rows) -> int:
        loaded = torch.from_numpy(load(chosen))
        if not loaded.is_contiguous():
            raise ValueError("a batch is not contiguous")
        return len(loaded)

    with ThreadPoolExecutor(N_THREADS) as threads:
        start = time.perf_counter()
        n_loaded = sum(threads.map(work, batches))
    return n_loaded / (time.perf_counter() - start)


def _measures(
    samples: dict[tuple[str, int], list[float]], layout: Layout, sizes: Sizes, seconds: tuple[float, float]
) -> list[Measure]:
    limits = {"pack, shuffled": {"at_least": 60_000.0}}
    rates = {
        key: median(f"{key[0]}, batches of {key[1]}", rate, "cutouts/s", **limits.get(key[0], {}))
        for key, rate in samples.items()
    }
    packed = [rates["pack, shuffled", batch] for batch in BATCHES]
    npz = [
        rates[name, batch] for name in ("npz files (numpy)", "npz files (ours: strict, SHA-256)") for batch in BATCHES
    ]
    slowest, fastest = min(packed, key=lambda rate: rate.value), max(npz, key=lambda rate: rate.value)
    n_bytes = sum(layout.n_bytes(shard) for shard in range(layout.n_shards))
    return [
        *rates.values(),
        ratio("pack, shuffled, against the faster way to read npz files", slowest, fastest, at_least=8),
        Measure("cutouts packed", sizes.n_packed, "cutouts"),
        Measure(
            "packing: npz read, verified, cropped, rounded, written, hashed", sizes.n_packed / seconds[0], "cutouts/s"
        ),
        Measure("opening a pack: SHA-256 of every file", n_bytes / 1e6 / seconds[1], "MB/s"),
        Measure("size of the pack", n_bytes / 1e6, "MB"),
    ]
