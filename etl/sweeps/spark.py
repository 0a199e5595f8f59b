"""A quiet local Spark session whose workers are this very Python."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from db.settings import CHECKOUT
from etl.errors import EtlError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLDEST_JAVA = 17
N_ATTEMPTS = 4
"""Times that Spark starts a task whose Python worker dies, as it does on a cluster."""
_log = logging.getLogger(__name__)
_FIX = "install one (Debian, Ubuntu: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"


@contextmanager
def local_session(n_workers: int = 2) -> Iterator[SparkSession]:
    """Start Spark in this process's own JVM, and stop it at the end; takes some seconds.

    Raises
    ------
    EtlError
        When there is no Java runtime that Spark can use.
    """
    find_java()
    from pyspark.sql import SparkSession

    with tempfile.TemporaryDirectory(prefix="stronglens-spark-", ignore_cleanup_errors=True) as scratch:
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "512m",
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={_log_configuration()}",
            "spark.executorEnv.PYTHONPATH": str(CHECKOUT),
            "spark.local.dir": scratch,
            "spark.sql.shuffle.partitions": str(n_workers),
            "spark.sql.warehouse.dir": str(Path(scratch) / "warehouse"),
        }
        builder = SparkSession.builder.master(f"local[{n_workers},{N_ATTEMPTS}]").appName("stronglens")
        for key, value in settings.items():
            builder = builder.config(key, value)
        # Without its own address Spark asks for the host's name, which need not resolve, and warns.
        with _environment(PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1"):
            session = builder.getOrCreate()
        logging.getLogger().addFilter(_is_not_of_py4j)
        try:
            yield session
        finally:
            _stop(session)
            logging.getLogger().removeFilter(_is_not_of_py4j)


def _stop(session: SparkSession) -> None:
    """Stop Spark; that its JVM has died, and cannot be stopped, is known by then from the work that failed."""
    from py4j.protocol import Py4JError

    try:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
            session.stop()
    except (Py4JError, OSError) as exc:
        _log.debug("Spark had stopped already: %s", exc)


def _is_not_of_py4j(record: logging.LogRecord) -> bool:
    """Keep out the pages that Py4J writes to the root logger about a dead JVM; it raises an error as well."""
    return "py4j" not in record.pathname


def find_java() -> Path:
    """Return the Java program that Spark will use, having asked its version.

    Raises
    ------
    EtlError
        When there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if found is None:
        where = f"JAVA_HOME is {home}, which has no bin/java" if home else "no `java` on the PATH"
        raise EtlError(f"no Java {OLDEST_JAVA}+ runtime: {where}; {_FIX}")
    done = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)(?:\.(\d+))?', done.stderr)
    major = int(match[2] if match[1] == "1" and match[2] else match[1]) if match else 0
    if major < OLDEST_JAVA:
        raise EtlError(f"no Java {OLDEST_JAVA}+ runtime: {found} is version {major or 'unknown'}; {_FIX}")
    return Path(found)


def _log_configuration() -> str:
    return (Path(__file__).parent / "log4j2.properties").as_uri()


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
