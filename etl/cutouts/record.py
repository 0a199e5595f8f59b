"""Rows of cutouts, and of what their pixels came from: by COPY, a batch a transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from sqlalchemy import ARRAY, BigInteger, Connection, Engine, Text, any_, column, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from db.copy import copy_arrow, psycopg_connection
from db.models.imaging import CONDITIONS, Cutout, PixelSource
from etl.cutouts.brick import Made
from etl.cutouts.files import BANDS, N_PIXELS, PIXEL_SCALE_ARCSEC
from etl.cutouts.source import SourceKind, SourceVersion
from etl.cutouts.targets import SWEEP_CONDITIONS, DrawRef

BATCH_ROWS = 2000
BATCH_S = 10.0
"""Rows are written when there are so many, or after so long: what was asked of a slow source is not asked again."""

_N_DECISIVE = 2 * len(BANDS)
"""The first conditions, PSF and depth, decide whether a source knows them; the number of exposures goes along."""


@dataclass(frozen=True)
class Batch:
    """What all rows of a run share."""

    draw: DrawRef
    version: str
    source: SourceKind
    run_id: int


class Recorder:
    """Writes the rows of cutouts that were made; rows that are there stay as they are."""

    def __init__(self, engine: Engine, batch: Batch, targets: pd.DataFrame) -> None:
        self._engine, self._batch, self._targets = engine, batch, targets
        self._has_row = targets["cutout_id"].notna().to_numpy(bool)
        self._waiting: list[Made] = []
        self._since = time.monotonic()

    def add(self, made: Sequence[Made]) -> None:
        """Take in what was made, and write it down when it is enough."""
        self._waiting += [item for item in made if not self._has_row[item.index]]
        if len(self._waiting) >= BATCH_ROWS or time.monotonic() - self._since > BATCH_S:
            self.flush()

    def flush(self) -> None:
        """Write down what is waiting; an error leaves nothing of the batch."""
        if self._waiting:
            with self._engine.begin() as connection:
                copy_arrow(psycopg_connection(connection), "imaging.cutout", self._rows())
                _link(connection, self._batch, self._keys(), [item.sources for item in self._waiting])
        self._waiting, self._since = [], time.monotonic()

    def _of(self) -> pd.DataFrame:
        return self._targets.iloc[[item.index for item in self._waiting]]

    def _keys(self) -> pd.DataFrame:
        """Give the object of each row: lens_id of a positive, ls_id of a negative."""
        of = self._of()
        is_positive = of["label"] == 1
        return pd.DataFrame({"lens_id": of["lens_id"].where(is_positive), "ls_id": of["ls_id"].where(~is_positive)})

    def _rows(self) -> pa.Table:
        names = [item.name for item in fields(Made) if item.name not in {"sources", "conditions"}]
        made = pd.DataFrame([[getattr(item, name) for name in names] for item in self._waiting], columns=names)
        of = self._of()
        constants = {
            "survey": self._batch.draw.survey,
            "data_release": self._batch.draw.data_release,
            "version": self._batch.version,
            "layer": self._batch.draw.layer,
            "source": self._batch.source,
            "bands": BANDS,
            "n_pixels": N_PIXELS,
            "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
            "run_id": self._batch.run_id,
        }
        columns = {name: pa.array([value] * len(made)) for name, value in constants.items()}
        columns |= {name: pa.array(values, pa.int64()) for name, values in self._keys().items()}
        columns |= {name: pa.array(of[name].to_numpy(float)) for name in ("ra", "dec")}
        columns["brickname"] = pa.array(of["brickname"], pa.string())
        columns |= {name: pa.array(made[name], pa.string()) for name in ("uri", "sha256", "status", "reject_reason")}
        columns["n_bytes"] = pa.array(made["n_bytes"].astype("Int64"), pa.int64())
        columns["nan_fraction"] = pa.array(made["nan_fraction"].to_numpy(float))
        known = np.array([item.conditions for item in self._waiting], dtype=np.float64)
        sweep = of[list(SWEEP_CONDITIONS)].astype("Float64").to_numpy(float, na_value=np.nan)
        return pa.table(columns | conditions_columns(known, sweep))


def conditions_columns(known: npt.NDArray[np.float64], sweep: npt.NDArray[np.float64]) -> dict[str, pa.Array]:
    """Choose what is recorded of the conditions: the source's maps where they know PSF and depth, else the sweep's row.

    Parameters
    ----------
    known, sweep
        (n, 9): PSF FWHM (arcsec), depth (nanomaggies^-2) and exposures, each in g, r, z; NaN where not known.

    Returns
    -------
    dict
        The columns of `imaging.cutout`; never some of a row's values from one of the two and some from the other.
    """
    has_all = np.asarray(np.isfinite(known[:, :_N_DECISIVE]).all(axis=1))
    has_sweep = np.asarray(np.isfinite(sweep[:, :_N_DECISIVE]).any(axis=1))
    is_sweep = ~has_all & has_sweep
    values = np.where(is_sweep[:, None], sweep, known)
    values[:, : len(BANDS)] = np.where(values[:, : len(BANDS)] > 0, values[:, : len(BANDS)], np.nan)
    is_known = np.asarray(np.isfinite(values).any(axis=1))
    source = np.where(is_sweep, "sweep", "coadd")
    columns = {}
    for number, name in enumerate(CONDITIONS):
        column_ = values[:, number]
        kind = pa.int16() if name.startswith("nexp_") else pa.float64()
        gone = ~np.isfinite(column_)
        columns[name] = pa.array(np.where(gone, 0, column_), mask=gone).cast(kind)
    return columns | {"conditions_source": pa.array(source, pa.string(), mask=~is_known)}


def _link(
    connection: Connection, batch: Batch, keys: pd.DataFrame, sources: Sequence[tuple[SourceVersion, ...]]
) -> None:
    """Record the sources that are new, and which cutouts each gave pixels to."""
    states = {(source.uri, source.version): source for of in sources for source in of}
    source_ids = _source_ids(connection, list(states.values()), batch.run_id)
    cutout_ids = _cutout_ids(connection, batch, keys)
    pairs = [
        (cutout_id, source_ids[source.uri, source.version])
        for cutout_id, of in zip(cutout_ids, sources, strict=True)
        for source in of
    ]
    if pairs:
        cutout, source = zip(*pairs, strict=True)
        table = pa.table({"cutout_id": pa.array(cutout, pa.int64()), "pixel_source_id": pa.array(source, pa.int64())})
        copy_arrow(psycopg_connection(connection), "imaging.cutout_source", table)


def _source_ids(connection: Connection, states: Sequence[SourceVersion], run_id: int) -> dict[tuple[str, str], int]:
    """Record states of sources that are new, all in one statement; return the key of each, by address and version."""
    rows = [asdict(state) for state in states]
    new = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(
        column("kind", Text), column("name", Text), column("uri", Text), column("version", Text), column("files", JSONB)
    )
    given = new.render_derived("given", with_types=True)
    names = ("kind", "name", "uri", "version", "files")
    chosen = select(*(given.c[name] for name in names), literal(run_id, BigInteger))
    connection.execute(insert(PixelSource).from_select([*names, "run_id"], chosen).on_conflict_do_nothing())
    uris = list({state.uri for state in states})
    found = connection.execute(
        select(PixelSource.uri, PixelSource.version, PixelSource.pixel_source_id).where(
            PixelSource.uri == any_(literal(uris, ARRAY(Text)))
        )
    )
    return {(uri, version): key for uri, version, key in found}


def _cutout_ids(connection: Connection, batch: Batch, keys: pd.DataFrame) -> list[int]:
    """Return the keys that the rows got, in their order."""
    found: dict[tuple[str, int], int] = {}
    for name in ("lens_id", "ls_id"):
        of = getattr(Cutout, name)
        wanted = [int(value) for value in keys[name].dropna()]
        rows = connection.execute(
            select(of, Cutout.cutout_id).where(
                of == any_(literal(wanted, ARRAY(BigInteger))),
                Cutout.survey == batch.draw.survey,
                Cutout.layer == batch.draw.layer,
                Cutout.version == batch.version,
            )
        )
        found |= {(name, int(key)): int(cutout_id) for key, cutout_id in rows}
    return [
        found["ls_id", int(ls_id)] if pd.isna(lens_id) else found["lens_id", int(lens_id)]
        for lens_id, ls_id in zip(keys["lens_id"], keys["ls_id"], strict=True)
    ]
