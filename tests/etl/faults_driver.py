"""A driver of its own for the fault test: a small cluster, kept alive for many loads, ordered line by line.

Spark's master, its workers and the driver share one JVM; the executors are JVMs of their own, and their Python workers
processes below them. Spark never starts a second attempt of a task on the machine of the first, so the two workers
have two loopback addresses.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession
from sqlalchemy import Engine

from db.engine import open_engine
from db.settings import CHECKOUT
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.source import find_sources

HOSTS = ("127.0.0.1", "127.0.0.2")
CORES = 4
MEMORY_MB = 512
PATIENCE_S = 60
_SPECULATE_AFTER = "spark.speculation.task.duration.threshold"
_QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def start_cluster(scratch: Path) -> SparkSession:
    """Start master, workers and driver in one JVM, and let them start an executor per worker."""
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": HOSTS[0]}
    log = (CHECKOUT / "etl" / "sweeps" / "log4j2.properties").as_uri()
    settings = {
        "spark.app.name": "stronglens faults",
        "spark.cores.max": str(CORES * len(HOSTS)),
        "spark.driver.bindAddress": HOSTS[0],
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log} {_QUICK_START}",
        "spark.driver.host": HOSTS[0],
        "spark.driver.memory": f"{MEMORY_MB}m",
        "spark.executor.cores": str(CORES),
        "spark.executor.extraJavaOptions": f"-Dlog4j2.configurationFile={log} {_QUICK_START}",
        "spark.executor.memory": f"{MEMORY_MB}m",
        "spark.executorEnv.PYTHONPATH": f"{CHECKOUT}{os.pathsep}{Path(__file__).parent}",
        "spark.python.daemon.module": "faults_daemon",
        "spark.local.dir": str(scratch),
        "spark.speculation": "true",
        "spark.speculation.interval": "50ms",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    conf = SparkConf(loadDefaults=False)
    for key, value in settings.items():
        conf.set(key, value)
    SparkContext._ensure_initialized(conf=conf)
    jvm = SparkContext._jvm
    assert jvm is not None
    jvm_conf = jvm.org.apache.spark.SparkConf()
    none = getattr(jvm.scala, "None$")
    none = getattr(none, "MODULE$")
    deploy = jvm.org.apache.spark.deploy
    address = deploy.master.Master.startRpcEnvAndEndpoint(HOSTS[0], 0, 0, jvm_conf)._1().address()
    masters = SparkContext._gateway.new_array(jvm.java.lang.String, 1)  # type: ignore[union-attr]
    masters[0] = f"spark://{HOSTS[0]}:{address.port()}"
    for host in HOSTS:
        where = str(scratch / host)
        arguments = (host, 0, 0, CORES, MEMORY_MB * 2, masters, where, none, jvm_conf, none)
        deploy.worker.Worker.startRpcEnvAndEndpoint(*arguments)
    return SparkSession.builder.config(conf=conf).master(masters[0]).getOrCreate()


def speculate(session: SparkSession, *, wanted: bool) -> None:
    """Let Spark start a second attempt of any task that has run for a little while, or of none."""
    conf = session.sparkContext._jsc.sc().conf()
    conf.set(_SPECULATE_AFTER, "200ms" if wanted else "10h")
    conf.set("spark.speculation.multiplier", "1.1" if wanted else "1000000")


def count_speculated(session: SparkSession) -> int:
    """Return how many second attempts at a task Spark has begun, over all loads."""
    context = session.sparkContext
    store, tracker = context._jsc.sc().statusStore(), context.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(None)]
    tasks = [store.taskList(stage, 0, 100) for job in jobs if job is not None for stage in job.stageIds]
    return sum(attempts.apply(place).speculative() for attempts in tasks for place in range(attempts.size()))


def load(engine: Engine, session: SparkSession, order: dict[str, Any]) -> dict[str, Any]:
    """Do one load as ordered; return what became of each file, or why there is no saying."""
    config = SweepLoadConfig(n_workers=order["n_workers"], patience_s=PATIENCE_S)
    options = LoadOptions(bulk=order["bulk"], session=lambda _n: nullcontext(session))
    try:
        outcome = load_sweeps(engine, find_sources([order["folder"]]), config, options)
    except Exception as exc:  # noqa: BLE001 - told to the test, which fails
        return {"error": f"{type(exc).__name__}: {exc}"}
    files = {file.name: [file.status, file.reason] for file in outcome.files}
    return {"files": files, "n_speculated": count_speculated(session)}


def main(scratch: Path) -> None:
    """Do what each line of the input orders, `n_loads` loads at once, and answer with a line each time."""
    session = start_cluster(scratch)
    print(json.dumps("ready"), flush=True)
    engine = None
    for line in sys.stdin:
        order, engine = json.loads(line), engine or open_engine()  # the database may come after the cluster
        speculate(session, wanted=order["speculate"])
        with ThreadPoolExecutor(order["n_loads"]) as threads:
            loads = [threads.submit(load, engine, session, order) for _ in range(order["n_loads"])]
            print(json.dumps([one.result() for one in loads]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
