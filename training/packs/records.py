"""Packs as the database knows them: `imaging.pack` and `imaging.pack_shard`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.orm import Session

from db.models.imaging import Pack as PackRow
from db.models.imaging import PackShard
from etl.storage import LocalStore
from training.manifest import Manifest
from training.packs.layout import AXIS_ORDER, BANDS, FORMAT, Layout
from training.packs.read import PackFile, PackFiles
from training.preprocess import PixelType

REMEDY = "restore it with `stronglens store sync`, make it again with `stronglens store pack`, or use --source npz"


@dataclass(frozen=True)
class Written:
    """A file that was written to the store."""

    uri: str
    sha256: str
    n_bytes: int


def packs_of(engine: Engine, manifest: Manifest) -> list[PackRow]:
    """Every pack of this very manifest, the smallest first."""
    with Session(engine, expire_on_commit=False) as session:
        wanted = select(PackRow).where(
            PackRow.draw_id == manifest.draw_id,
            PackRow.scheme_id == manifest.scheme_id,
            PackRow.version == manifest.cutout_version,
            PackRow.manifest_sha256 == manifest.digest(),
        )
        return list(session.scalars(wanted.order_by(PackRow.crop_px, PackRow.dtype)))


def shards_of(engine: Engine, pack_id: int) -> list[PackShard]:
    """The shards of a pack that have been written, in order."""
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(PackShard).where(PackShard.pack_id == pack_id).order_by(PackShard.shard)))


def layout_of(row: PackRow) -> Layout:
    """What a pack's shards hold."""
    return Layout(row.crop_px, cast("PixelType", row.dtype), row.n_cutouts, row.shard_rows)


def files_of(engine: Engine, row: PackRow, store: LocalStore) -> PackFiles:
    """Where the files of a complete pack lie on this machine."""

    def file(uri: str | None, sha256: str | None, n_bytes: int | None) -> PackFile:
        return PackFile(store.root / Path(store.key(str(uri))), str(sha256), int(n_bytes or 0))

    return PackFiles(
        name=f"pack {row.pack_id}",
        layout=layout_of(row),
        shards=tuple(file(shard.uri, shard.sha256, shard.n_bytes) for shard in shards_of(engine, row.pack_id)),
        index=file(row.index_uri, row.index_sha256, row.index_n_bytes),
        remedy=REMEDY,
    )


def begin_pack(engine: Engine, run_id: int, manifest: Manifest, layout: Layout) -> int:
    """Insert the row of a pack whose writing begins."""
    with engine.begin() as connection:
        return connection.execute(
            insert(PackRow)
            .values(
                draw_id=manifest.draw_id,
                scheme_id=manifest.scheme_id,
                version=manifest.cutout_version,
                manifest_sha256=manifest.digest(),
                bands=BANDS,
                crop_px=layout.crop_px,
                dtype=layout.dtype,
                axis_order=AXIS_ORDER,
                format=FORMAT,
                n_cutouts=layout.n_cutouts,
                shard_rows=layout.shard_rows,
                status="writing",
                run_id=run_id,
            )
            .returning(PackRow.pack_id)
        ).scalar_one()


def add_shard(engine: Engine, pack_id: int, number: int, rows: slice, file: Written) -> None:
    """Record a shard that has been written, in place of an earlier record of it."""
    values = {
        "uri": file.uri,
        "sha256": file.sha256,
        "n_bytes": file.n_bytes,
        "first_row": rows.start,
        "n_rows": rows.stop - rows.start,
    }
    with engine.begin() as connection:
        connection.execute(
            insert_or(PackShard)
            .values(pack_id=pack_id, shard=number, **values)
            .on_conflict_do_update(index_elements=[PackShard.pack_id, PackShard.shard], set_=values)
        )


def complete_pack(engine: Engine, pack_id: int, index: Written) -> None:
    """Record the index and that the pack is whole."""
    with engine.begin() as connection:
        connection.execute(
            update(PackRow)
            .where(PackRow.pack_id == pack_id)
            .values(status="complete", index_uri=index.uri, index_sha256=index.sha256, index_n_bytes=index.n_bytes)
        )
