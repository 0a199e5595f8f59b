"""The stage `stronglens store pack`: a manifest's npz files become shards, one after the other.

A shard is filled in memory, put into the store whole, and recorded; so an interruption costs the shard at hand, and the
next run goes on. The bytes follow from the manifest alone.
"""

from __future__ import annotations

import hashlib
import io
import mmap
from dataclasses import dataclass
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pydantic import Field
from sqlalchemy import Engine

from db.config import StageConfig
from db.lock import only_one
from db.models.imaging import Pack as PackRow
from db.provenance import recorded_run
from db.settings import settings
from etl.storage import AbsentError, Store, open_store
from training.dataset import read_cutouts
from training.errors import PackError
from training.manifest import Manifest, named_manifest
from training.packs import records
from training.packs.layout import BANDS, INDEX_NAME, Layout, row_bytes, shard_name
from training.packs.records import Written
from training.preprocess import Pixels, PixelType
from training.progress import Progress, silent

_PIECE = 4 << 20


class PackConfig(StageConfig):
    """Which manifest to pack, and how."""

    draw: str = "default"
    scheme: str = "default"
    cutout_version: str = "v1"
    crop_px: int = Field(default=64, ge=1, le=101)
    dtype: PixelType = "float16"
    shard_mib: float = Field(default=512, gt=0, le=1024, description="Size of a shard; the writer holds one in memory")


@dataclass(frozen=True)
class PackResult:
    """What packing did."""

    pack_id: int
    n_cutouts: int
    n_shards: int
    n_written: int
    n_bytes: int


def write_pack(engine: Engine, config: PackConfig, progress: Progress = silent) -> PackResult:
    """Pack the cutouts of a manifest; shards that are there and whole are kept.

    Raises
    ------
    MissingInputError, ManifestError
        When there is no such manifest, or one of its files is missing or altered.
    PackError
        When the cutouts are smaller than the crop or have other bands.
    BusyError
        When another process packs this draw.
    """
    manifest = named_manifest(engine, config.draw, config.scheme, config.cutout_version)
    _require_fit(manifest, config)
    environment = settings()
    store = open_store(environment.store, environment.s3_endpoint_url)
    with only_one(engine, f"packs of draw {config.draw!r}"):
        row = _row(engine, manifest, config)
        layout = _layout(manifest, config) if row is None else records.layout_of(row)
        whole = set() if row is None else _whole_shards(engine, row, store, progress)
        missing = [shard for shard in range(layout.n_shards) if shard not in whole]
        n_bytes = sum(layout.n_bytes(shard) for shard in range(layout.n_shards))
        if row is not None and not missing and _is_whole(store, row.index_uri, row.index_sha256):
            return PackResult(row.pack_id, len(manifest), layout.n_shards, 0, n_bytes)
        with recorded_run(engine, command="store pack", config=config) as run:
            pack_id = row.pack_id if row is not None else records.begin_pack(engine, run.run_id, manifest, layout)
            folder = _folder(manifest, config)
            for shard in missing:
                written = write_shard(manifest, layout, shard, (store, folder), progress)
                records.add_shard(engine, pack_id, shard, layout.rows(shard), written)
            index = write_index(manifest, (store, folder))
            records.complete_pack(engine, pack_id, index)
    return PackResult(pack_id, len(manifest), layout.n_shards, len(missing), n_bytes)


def _require_fit(manifest: Manifest, config: PackConfig) -> None:
    for bands, n_pixels in manifest.layouts:
        if bands != BANDS or n_pixels < config.crop_px:
            raise PackError(
                f"cutouts of version {config.cutout_version!r} hold bands {bands!r} on {n_pixels} px: a pack takes "
                f"{BANDS!r} and at least --crop {config.crop_px}"
            )


def _row(engine: Engine, manifest: Manifest, config: PackConfig) -> PackRow | None:
    wanted = (config.crop_px, config.dtype)
    return next((row for row in records.packs_of(engine, manifest) if (row.crop_px, row.dtype) == wanted), None)


def _layout(manifest: Manifest, config: PackConfig) -> Layout:
    shard_rows = max(1, int(config.shard_mib * 2**20) // row_bytes(config.crop_px, config.dtype))
    return Layout(config.crop_px, config.dtype, len(manifest), shard_rows)


def _folder(manifest: Manifest, config: PackConfig) -> str:
    kind = f"{config.cutout_version}-{config.crop_px}px-{config.dtype}-{manifest.digest()[:16]}"
    return f"packs/{config.draw}/{config.scheme}/{kind}"


def write_shard(
    manifest: Manifest, layout: Layout, shard: int, place: tuple[Store, str], progress: Progress = silent
) -> Written:
    """Read the npz files of a shard's rows and write the shard to a store, below a folder of it.

    Raises
    ------
    ManifestError
        When an npz file is missing, altered, or not a cutout.
    StorageError
        When the store refuses.
    """
    store, folder = place
    header, rows = layout.header(shard), layout.rows(shard)
    memory = mmap.mmap(-1, layout.n_bytes(shard))  # it can be read like a file, so that the store need not copy it
    memory[: len(header)] = header
    packed = np.frombuffer(memory, layout.pixel_type, offset=len(header)).reshape(-1, *layout.row_shape)

    def keep(first: int, pixels: Pixels) -> None:
        packed[first : first + len(pixels)] = layout.packed(pixels)

    def show(n_read: int) -> None:
        progress("packing cutouts", rows.start + n_read, len(manifest))

    read_cutouts(manifest.rows(rows), store, keep, show)
    return _put(store, f"{folder}/{shard_name(shard)}", memory)


def write_index(manifest: Manifest, place: tuple[Store, str]) -> Written:
    """Write the Parquet file of the cutouts that the rows are, and of the SHA-256 of the file that each came from."""
    store, folder = place
    table = pa.table({"cutout_id": pa.array(manifest.cutout_id), "sha256": pa.array(manifest.sha256.tolist())})
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    stream.seek(0)
    return _put(store, f"{folder}/{INDEX_NAME}", stream)


def _put(store: Store, key: str, stream: mmap.mmap | io.BytesIO) -> Written:
    view = memoryview(stream) if isinstance(stream, mmap.mmap) else stream.getbuffer()
    with view:
        n_bytes, sha256 = view.nbytes, hashlib.sha256(view).hexdigest()
    return Written(store.put_stream(key, cast("BinaryIO", stream)), sha256, n_bytes)


def _whole_shards(engine: Engine, row: PackRow, store: Store, progress: Progress) -> set[int]:
    """Numbers of the shards whose files are as recorded."""
    whole = set()
    for shard in records.shards_of(engine, row.pack_id):
        if _is_whole(store, shard.uri, shard.sha256):
            whole.add(shard.shard)
        progress("verifying the pack", shard.first_row + shard.n_rows, row.n_cutouts)
    return whole


def _is_whole(store: Store, uri: str | None, sha256: str | None) -> bool:
    if uri is None:
        return False
    digest = hashlib.sha256()
    try:
        with store.open(uri) as stream:
            while piece := stream.read(_PIECE):
                digest.update(piece)
    except AbsentError:
        return False
    return digest.hexdigest() == sha256
