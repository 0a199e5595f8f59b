"""What the loader is measured against; each function runs in a process of its own that was started beforehand."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import healpy
import numpy as np
import pyarrow as pa
from astropy.io import ascii as ascii_tables
from astropy.io import fits
from astropy.table import Table
from isal import igzip
from pyarrow import csv
from sqlalchemy import Engine, make_url

from db.copy import copy_arrow, psycopg_connection
from db.engine import connectable
from etl.sweeps.box import box_of_name
from etl.sweeps.columns import GALAXY_FLOATS, GALAXY_INTEGERS, GALAXY_SCHEMA
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load_file import LoadJob, work_off
from etl.sweeps.reader import read_sweep
from etl.sweeps.select import PoolSelection

_CSV_ROWS = 32_768
_INFLATE_BYTES = 1 << 20


class TwoProcesses:
    """Two Python processes that are up, have imported all this and wait for work."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def seconds(self, function: Callable[..., None], first: tuple[Any, ...], second: tuple[Any, ...]) -> float:
        """Run a function with two sets of arguments side by side; the time until both are done."""
        start = time.perf_counter()
        for work in [self._pool.submit(function, *first), self._pool.submit(function, *second)]:
            work.result()
        return time.perf_counter() - start


@contextmanager
def two_processes() -> Iterator[TwoProcesses]:
    """Start both processes and wait until they have imported everything."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        both = TwoProcesses(pool)
        both.seconds(time.sleep, (2,), (2,))
        both.seconds(_import_all, (), ())
        yield both


def _import_all() -> None:
    time.sleep(0.2)  # so that neither process does it twice


def take_from_queue(job: LoadJob) -> None:
    """Do what a Spark worker does, without Spark: ledger, locks and hashes too."""
    work_off(job)


def read_and_copy(url: str, paths: list[Path]) -> None:
    """Only read, select and write, with the loader's own reader and writer; one transaction a file."""
    for path in paths:
        selection = PoolSelection(SweepLoadConfig(), "dr10", 1, box_of_name(path.name))
        with _engine(url).begin() as connection:
            batches = (selection.select(rows) for rows in read_sweep(path))
            copy_arrow(psycopg_connection(connection), "catalog.galaxy", batches)


def inflate(paths: list[Path]) -> None:
    """Inflate and forget."""
    buffer = bytearray(_INFLATE_BYTES)
    for path in paths:
        with path.open("rb", buffering=_INFLATE_BYTES) as packed, igzip.IGzipFile(fileobj=packed, mode="rb") as stream:
            while stream.readinto(buffer):
                pass


def astropy_csv_copy(url: str, paths: list[Path]) -> None:
    """Load as one would with astropy and COPY's CSV form: memory-mapped columns, astropy's writer, large writes."""
    _csv_copy(url, paths, _astropy_csv)


def arrow_csv_copy(url: str, paths: list[Path]) -> None:
    """Do the same with Arrow's CSV writer, which is no part of astropy."""
    _csv_copy(url, paths, _arrow_csv)


def _csv_copy(url: str, paths: list[Path], as_csv: Callable[[pa.Table], str | memoryview]) -> None:
    names = ", ".join(GALAXY_SCHEMA.names)
    for path in paths:
        with fits.open(path, memmap=True) as hdus, _engine(url).begin() as connection:
            table = hdus[1].data
            cursor = psycopg_connection(connection).cursor()
            with cursor.copy(f"COPY catalog.galaxy ({names}) FROM STDIN (FORMAT csv)") as copy:
                for start in range(0, len(table), _CSV_ROWS):
                    copy.write(as_csv(_pool_rows(table[start : start + _CSV_ROWS])))


def _astropy_csv(rows: pa.Table) -> str:
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    buffer = io.StringIO()
    ascii_tables.write(Table(columns, copy=False), buffer, format="no_header", delimiter=",")
    return buffer.getvalue()


def _arrow_csv(rows: pa.Table) -> memoryview:
    buffer = io.BytesIO()
    options = csv.WriteOptions(include_header=False, quoting_style="none", batch_size=_CSV_ROWS)
    csv.write_csv(rows, buffer, options)
    return buffer.getbuffer()


def _pool_rows(table: fits.FITS_rec) -> pa.Table:
    """Columns of the pool from some rows of a sweep, as whole arrays."""
    kinds = np.strings.strip(table.field("TYPE").view(np.ndarray))
    kept = np.isin(kinds, ["SER", "DEV", "REX", "EXP"]) & (table.field("FLUX_Z") >= 10 ** ((22.5 - 21) / 2.5))
    fields = {name: table.field(name)[kept] for name in (*GALAXY_FLOATS, *GALAXY_INTEGERS, "RA", "DEC")}
    native = {name: values.astype(values.dtype.newbyteorder("=")) for name, values in fields.items()}
    release, brickid, objid = (table.field(name)[kept].astype(np.int64) for name in ("RELEASE", "BRICKID", "OBJID"))
    n = len(release)
    columns: dict[str, Any] = {new: native[old] for old, new in (GALAXY_FLOATS | GALAXY_INTEGERS).items()}
    columns |= {"ls_id": release << 40 | brickid << 16 | objid, "ra": native["RA"], "dec": native["DEC"]}
    columns["healpix_128"] = healpy.ang2pix(128, native["RA"], native["DEC"], nest=True, lonlat=True)
    columns["type"] = kinds[kept].astype(object)
    columns |= {"sweep_file_id": np.ones(n, np.int32), "data_release": np.full(n, 10, np.int16)}
    columns["survey"] = pa.repeat("dr10", n)
    return pa.table([pa.array(columns[name]) for name in GALAXY_SCHEMA.names], names=GALAXY_SCHEMA.names)


@cache
def _engine(url: str) -> Engine:
    return connectable(make_url(url))


def split(items: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Deal things out to two."""
    dealt = list(items)
    return dealt[::2], dealt[1::2]
