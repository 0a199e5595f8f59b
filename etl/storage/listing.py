"""What the database says lies in the store: address, SHA-256 and size of cutouts, packs and checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exists, select

from db.models.imaging import Cutout, Pack, PackShard, Quarantine
from db.models.provenance import Artifact
from db.models.sampling import DrawMember
from db.models.training import Model
from etl.cutouts.targets import DrawRef, find_draw
from etl.storage.store import Store

_ROWS_AT_ONCE = 20_000
_Rows = Select[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One object as the database knows it; `sha256` is hexadecimal."""

    uri: str
    sha256: str
    n_bytes: int


@dataclass(frozen=True)
class Selection:
    """Which objects are meant; all that are recorded where nothing is said.

    `draw` takes the cutouts of a draw that are not quarantined and what was made from them (complete packs, models),
    `cutout_version` those of one version, `prefix` the keys that begin with it.
    """

    draw: str | None = None
    cutout_version: str | None = None
    prefix: str | None = None


NOTHING_SELECTED = "the database records no object of that selection: see --draw, --cutout-version and --prefix"

Listing = Mapping[str, Recorded]
"""Recorded objects by key, in the order of keys."""


def load_listing(connection: Connection, store: Store, selection: Selection) -> Listing:
    """List the recorded objects of a selection by their keys in a store.

    Half a million take about 200 MiB of memory.

    Raises
    ------
    MissingInputError
        When there is no such draw.
    StorageError
        When an address is not in this store, nor in one that it is a copy of.
    """
    draw = None if selection.draw is None else find_draw(connection, selection.draw)
    prefix = selection.prefix or ""
    found: dict[str, Recorded] = {}
    kinds = (_cutouts, _shards, _indexes, _checkpoints, _environments)
    for query in (kind(draw, selection.cutout_version) for kind in kinds):
        for rows in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query).partitions():
            found |= {store.key(recorded.uri): recorded for recorded in (Recorded(*row) for row in rows)}
    return {key: found[key] for key in sorted(found) if key.startswith(prefix)}


def folders(keys: Iterable[str]) -> list[str]:
    """Name the folders that keys lie in, with a slash at the end (the root is empty); none lies within another."""
    outermost: list[str] = []
    for folder in sorted({key[: key.rfind("/") + 1] for key in keys}):
        if not outermost or not folder.startswith(outermost[-1]):
            outermost.append(folder)
    return outermost


def _cutouts(draw: DrawRef | None, version: str | None) -> _Rows:
    query = select(Cutout.uri, Cutout.sha256, Cutout.n_bytes).where(Cutout.uri.is_not(None))
    if version is not None:
        query = query.where(Cutout.version == version)
    if draw is None:
        return query
    query = query.where(~exists().where(Quarantine.cutout_id == Cutout.cutout_id))
    is_member = exists().where(DrawMember.draw_id == draw.draw_id)
    is_positive = is_member.where(DrawMember.label == 1, DrawMember.lens_id == Cutout.lens_id)
    is_negative = is_member.where(DrawMember.label == 0, DrawMember.ls_id == Cutout.ls_id)
    return query.where(Cutout.survey == draw.survey, Cutout.layer == draw.layer, is_positive | is_negative)


def _shards(draw: DrawRef | None, version: str | None) -> _Rows:
    query = select(PackShard.uri, PackShard.sha256, PackShard.n_bytes).join(Pack, Pack.pack_id == PackShard.pack_id)
    return _of_packs(query, draw, version)


def _indexes(draw: DrawRef | None, version: str | None) -> _Rows:
    query = select(Pack.index_uri, Pack.index_sha256, Pack.index_n_bytes).where(Pack.index_uri.is_not(None))
    return _of_packs(query, draw, version)


def _of_packs(query: _Rows, draw: DrawRef | None, version: str | None) -> _Rows:
    if version is not None:
        query = query.where(Pack.version == version)
    return query if draw is None else query.where(Pack.draw_id == draw.draw_id, Pack.status == "complete")


def _checkpoints(draw: DrawRef | None, version: str | None) -> _Rows:
    written = (Artifact.uri == Model.checkpoint_uri) & (Artifact.sha256 == Model.checkpoint_sha256)
    return _of_models(select(Artifact.uri, Artifact.sha256, Artifact.n_bytes).join(Model, written), draw, version)


def _environments(draw: DrawRef | None, version: str | None) -> _Rows:
    query = select(Artifact.uri, Artifact.sha256, Artifact.n_bytes).join(Model, Model.run_id == Artifact.run_id)
    return _of_models(query.where(Artifact.kind == "environment"), draw, version)


def _of_models(query: _Rows, draw: DrawRef | None, version: str | None) -> _Rows:
    if version is not None:
        query = query.where(Model.cutout_version == version)
    return query if draw is None else query.where(Model.draw_id == draw.draw_id)
