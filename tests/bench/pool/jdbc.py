"""Spark's own JDBC writer, in a process and a Spark session of its own, fed from memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from db.settings import CHECKOUT
from tests.bench.pool.bench_server import NotEnoughError

DRIVER = Path("/usr/share/java/postgresql.jar")
_HEAP = "2g"
_QUIET = CHECKOUT / "etl" / "sweeps" / "log4j2.properties"
_state: dict[str, Any] = {}


class JdbcWriter:
    """A Spark session that holds the rows to write, two partitions of them."""

    def __init__(self, pool: ProcessPoolExecutor, url: URL) -> None:
        self._pool = pool
        self._url = f"jdbc:postgresql://{url.host}:{url.port}/{url.database}"
        self._user = str(url.username)

    def hold(self, parquet: Path, n_rows: int) -> None:
        """Read that many rows into Spark's memory."""
        self._pool.submit(_hold, str(parquet), n_rows).result()

    def seconds(self, options: Mapping[str, str], *, rewrite: bool) -> float:
        """Append the rows to ``catalog.galaxy``; time of the write."""
        url = self._url + ("?reWriteBatchedInserts=true" if rewrite else "")
        return self._pool.submit(_write, {"url": url, "user": self._user, **options}).result()


@contextmanager
def jdbc_writer(url: URL) -> Iterator[JdbcWriter]:
    """Start the process and its session.

    Raises
    ------
    NotEnoughError
        When the driver is not installed.
    """
    find_driver()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(_start).result()
        try:
            yield JdbcWriter(pool, url)
        finally:
            pool.submit(_stop).result()


def find_driver() -> None:
    """Make sure that the driver is there.

    Raises
    ------
    NotEnoughError
        When it is not.
    """
    if not DRIVER.exists():
        raise NotEnoughError(f"{DRIVER} is missing: apt-get install libpostgresql-jdbc-java")


def _start() -> None:
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": _HEAP,
        "spark.driver.extraClassPath": str(DRIVER),
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_QUIET.as_uri()}",
    }
    builder = SparkSession.builder.master("local[2]").appName("jdbc")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    for key, value in settings.items():
        builder = builder.config(key, value)
    _state["session"] = builder.getOrCreate()


def _stop() -> None:
    _state["session"].stop()


def _hold(parquet: str, n_rows: int) -> None:
    if "rows" in _state:
        _state["rows"].unpersist()
    _state["rows"] = _state["session"].read.parquet(parquet).limit(n_rows).repartition(2).cache()
    _state["rows"].count()


def _write(options: dict[str, str]) -> float:
    start = time.perf_counter()
    writer = _state["rows"].write.format("jdbc").mode("append")
    writer.options(dbtable="catalog.galaxy", driver="org.postgresql.Driver", **options).save()
    return time.perf_counter() - start
