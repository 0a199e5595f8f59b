"""Files that are taken in: copied into the store byte for byte unless they lie in it, then recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import ARRAY, ColumnElement, Connection, Text, any_, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute

from db.copy import copy_arrow, psycopg_connection
from db.models import Survey
from db.models.imaging import Cutout, PixelSource
from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC
from etl.cutouts.record import conditions_columns
from etl.cutouts.register.errors import Kind, NotTaken
from etl.cutouts.targets import SWEEP_CONDITIONS
from etl.storage import Store
from etl.survey import DATA_RELEASE


@dataclass(frozen=True)
class Copies:
    """From where and to where files are copied; keys below `prefix` of the one, keys of the other."""

    source: Store
    prefix: str
    store: Store
    n_threads: int


def copy_files(copies: Copies, files: pd.DataFrame) -> dict[str, NotTaken]:
    """Copy files (name, sha256) to the addresses that `uri` names; return those that were not, by name.

    An object that is there with the same bytes is left; one with others is never written over.

    Raises
    ------
    StorageError
        When a store refuses.
    """
    rows = list(zip(files["name"], files["sha256"], files["uri"], strict=True))
    with ThreadPoolExecutor(copies.n_threads) as threads:
        odd = threads.map(lambda row: _copy(copies, *row), rows)
        return {found.file: found for found in odd if found is not None}


def _copy(copies: Copies, name: str, sha256: str, uri: str) -> NotTaken | None:
    if copies.store.stat(uri) is not None:
        if _sha256(copies.store.get_bytes(uri)) == sha256:
            return None
        reason = f"another file lies in the store as {uri}, of which nothing is recorded; move it away"
        return NotTaken(name, Kind.CONFLICT, reason)
    data = copies.source.get_bytes(copies.prefix + name)
    if _sha256(data) != sha256:
        return NotTaken(name, Kind.ALTERED, "changed while it was taken in; run again")
    copies.store.put_bytes(uri, data)
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def record_files(connection: Connection, files: pd.DataFrame, *, layer: str, version: str, run_id: int) -> None:
    """Write the rows of `imaging.cutout`, what their pixels are from, and the conditions of the sweeps' rows."""
    constants = {
        "survey": Survey.DR10.value,
        "data_release": DATA_RELEASE,
        "version": version,
        "layer": layer,
        "bands": BANDS,
        "n_pixels": N_PIXELS,
        "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
        "run_id": run_id,
        "is_registered": True,
    }
    columns = {name: pa.array([value] * len(files)) for name, value in constants.items()}
    columns |= {name: pa.array(files[name], pa.int64()) for name in ("lens_id", "ls_id", "n_bytes")}
    columns |= {name: pa.array(files[name], pa.float64()) for name in ("ra", "dec", "nan_fraction")}
    columns |= {name: pa.array(files[name], pa.string()) for name in ("source", "brickname", "uri", "sha256", "status")}
    sweep = files[list(SWEEP_CONDITIONS)].to_numpy(np.float64)
    columns |= conditions_columns(np.full_like(sweep, np.nan), sweep)
    copy_arrow(psycopg_connection(connection), "imaging.cutout", pa.table(columns))
    _record_sources(connection, files, layer, run_id)


def _record_sources(connection: Connection, files: pd.DataFrame, layer: str, run_id: int) -> None:
    """Name what the pixels are from, as the files say it: their state at that time is not known beyond that."""
    fetched = files["fetched"].where(files["fetched"] != "", "at a time not recorded")
    is_coadd = files["source"] == "coadd"
    sources = pd.DataFrame(
        {
            "kind": files["source"],
            "name": files["brickname"].where(is_coadd, layer),
            "uri": files["url"],
            "version": "fetched " + fetched,
        }
    )
    rows = sources.drop_duplicates(["uri", "version"]).assign(run_id=run_id).to_dict("records")
    new = insert(PixelSource).on_conflict_do_nothing(index_elements=["uri", "version"])
    connection.execute(new, [row | {"files": []} for row in rows])
    known = connection.execute(
        select(PixelSource.pixel_source_id, PixelSource.uri, PixelSource.version).where(
            _is_any_text(PixelSource.uri, sources["uri"].unique().tolist())
        )
    )
    ids = pd.DataFrame(known.all(), columns=["pixel_source_id", "uri", "version"])
    made = connection.execute(
        select(Cutout.cutout_id, Cutout.uri).where(_is_any_text(Cutout.uri, files["uri"].tolist()))
    )
    cutouts = pd.DataFrame(made.all(), columns=["cutout_id", "cutout_uri"])
    pairs = sources.assign(cutout_uri=files["uri"]).merge(ids, on=["uri", "version"]).merge(cutouts, on="cutout_uri")
    links = {name: pa.array(pairs[name], pa.int64()) for name in ("cutout_id", "pixel_source_id")}
    copy_arrow(psycopg_connection(connection), "imaging.cutout_source", pa.table(links))


def _is_any_text(column: InstrumentedAttribute[Any], values: Sequence[str]) -> ColumnElement[bool]:
    return column == any_(literal(list(values), ARRAY(Text)))
