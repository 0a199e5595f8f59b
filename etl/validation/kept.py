"""What is kept of measuring: metrics of sound cutouts, quarantine of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, Engine, any_, delete, literal, select
from sqlalchemy.dialects.postgresql import insert as insert_or

from db.copy import copy_arrow, psycopg_connection
from db.models.imaging import Cutout, CutoutMetric, Quarantine
from etl.cutouts.targets import DrawRef, as_frame

METRIC_COLUMNS = tuple(column.name for column in CutoutMetric.__table__.columns if column.name != "cutout_id")
FLUSH_ROWS = 4096
_READ_ROWS = 20_000


class Keeper:
    """Writes what was measured, some thousand cutouts a transaction: what a killed validation wrote, the next keeps."""

    def __init__(self, engine: Engine, run_id: int) -> None:
        self._engine, self._run_id = engine, run_id
        self._waiting: list[pd.DataFrame] = []
        self.n_sound = 0

    def add(self, measured: pd.DataFrame) -> None:
        """Take the table of one batch."""
        self._waiting.append(measured)
        if sum(map(len, self._waiting)) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting: old rows of these cutouts are replaced."""
        if not self._waiting:
            return
        measured = pd.concat(self._waiting)
        self._waiting = []
        is_sound = measured["reason"].isna()
        with self._engine.begin() as connection:
            _replace_metrics(connection, measured.index, measured[is_sound])
            _replace_quarantine(connection, measured[is_sound].index, measured[~is_sound], self._run_id)
        self.n_sound += int(is_sound.sum())


def read_metrics(connection: Connection, draw: DrawRef, version: str, names: tuple[str, ...]) -> pd.DataFrame:
    """Return some metrics of the cutouts of this survey and version, indexed by cutout_id; NULL as NaN."""
    columns = [CutoutMetric.__table__.c[name] for name in ("cutout_id", *names)]
    rows = connection.execution_options(yield_per=_READ_ROWS).execute(
        select(*columns)
        .join(Cutout, Cutout.cutout_id == CutoutMetric.cutout_id)
        .where(Cutout.survey == draw.survey, Cutout.version == version, Cutout.layer == draw.layer)
    )
    # A number at a time would be an object at a time: half a million cutouts take a gigabyte as objects.
    parts = [np.array(part, dtype=np.float64).reshape(-1, len(columns)) for part in rows.partitions()]
    values = np.concatenate([np.empty((0, len(columns))), *parts])
    return pd.DataFrame(values[:, 1:], columns=list(names), index=pd.Index(values[:, 0].astype(np.int64)))


def read_quarantine(connection: Connection, draw: DrawRef, version: str) -> pd.DataFrame:
    """Return the quarantined cutouts of this survey and version by cutout_id: cutout_id, reason, detail."""
    rows = connection.execute(
        select(Quarantine.cutout_id, Quarantine.reason, Quarantine.detail)
        .join(Cutout, Cutout.cutout_id == Quarantine.cutout_id)
        .where(Cutout.survey == draw.survey, Cutout.version == version, Cutout.layer == draw.layer)
        .order_by(Quarantine.cutout_id)
    )
    return as_frame(rows, ("cutout_id", "reason", "detail"))


def _replace_metrics(connection: Connection, every: pd.Index, sound: pd.DataFrame) -> None:
    connection.execute(delete(CutoutMetric).where(CutoutMetric.cutout_id == any_(_keys(every))))
    columns = {"cutout_id": pa.array(sound.index.to_numpy(np.int64))}
    columns |= {name: pa.array(sound[name].to_numpy(float), from_pandas=True) for name in METRIC_COLUMNS}
    copy_arrow(psycopg_connection(connection), "imaging.cutout_metric", pa.table(columns))


def _replace_quarantine(connection: Connection, sound: pd.Index, unfit: pd.DataFrame, run_id: int) -> None:
    """Let go of what is sound; what was found before, for the same reason, keeps its date."""
    connection.execute(delete(Quarantine).where(Quarantine.cutout_id == any_(_keys(sound))))
    if unfit.empty:
        return
    new = insert_or(Quarantine)
    changed = {name: new.excluded[name] for name in ("reason", "detail", "run_id", "found_at")}
    rows = [
        {"cutout_id": int(key), "reason": reason, "detail": detail, "run_id": run_id}
        for key, reason, detail in zip(unfit.index, unfit["reason"], unfit["detail"], strict=True)
    ]
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["cutout_id"], set_=changed, where=Quarantine.reason != new.excluded.reason
        ),
        rows,
    )


def _keys(index: pd.Index) -> ColumnElement[Any]:
    return literal([int(key) for key in index], ARRAY(BigInteger))
