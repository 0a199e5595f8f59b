"""A load whose Spark executors, driver and database are killed at random moments ends with the rows of its files.

Each round starts a load, waits until it is somewhere amid its files, kills something, and then compares keys, ledger
and queue with what astropy reads in the files. A load must go on by itself, unless its driver was killed: then it is
run again. The moments are drawn as shares of the work, so that they fall amid it however fast the machine is; a round
whose kill found the load at its end all the same is played again with an earlier moment.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.engine import URL

from db import drift, migrate
from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.engine import connectable
from db.models.catalog import SweepFile
from db.patience import patiently
from db.settings import CHECKOUT
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load_file import LoadJob, work_off
from etl.sweeps.queue import count_ended, fill_queue, hold_task, take_task
from etl.sweeps.source import find_sources
from tests.builders import insert_run
from tests.etl.faults_truth import N_FILES, Files
from tests.etl.faults_victims import Program, ancestors, crash_database, kill, wait_for

SEED = 20261123
DRIVER = CHECKOUT / "tests" / "etl" / "faults_driver.py"
MODES = ("keys", "bulk", "replace")
N_HITS = 20
EARLIER = (1, 0.5, 0.2, 0)
TOO_LATE = "too late"
QUICK_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
CRASHES = ("killed", "stopped at once", "stopped fast", "backend killed")
DRIVER_DEATHS = {"keys": "python", "bulk": "jvm", "replace": "python"}
_PROGRESS = (
    "SELECT count(*) FILTER (WHERE finished_at IS NOT NULL), count(*), "
    "array_agg(split_part(worker, ':', 2)::int) FILTER (WHERE status = 'running') FROM catalog.sweep_task"
)
_STARTED = "SELECT EXISTS (SELECT FROM catalog.sweep_task WHERE started_at IS NOT NULL)"
_BACKENDS = (
    "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend' ORDER BY query NOT LIKE 'COPY%', pid"
)
_UNFINISHED = (
    "SELECT count(*) FILTER (WHERE t.status = 'loaded' AND t.finished_at > %(at)s), "
    "count(*) FILTER (WHERE r.finished_at IS NULL OR r.finished_at > %(at)s) "
    "FROM catalog.sweep_task t JOIN provenance.run r USING (run_id)"
)


@dataclass(frozen=True)
class Round:
    """What is killed, in which state of the pool, and when: a share of the files, or while the indexes are built."""

    victim: str
    mode: str
    moment: float | None
    how: str = ""
    n_loads: int = 1
    speculate: bool = False
    pause_s: float = 0.0
    seed: int = 0


def rounds() -> list[Round]:
    """Every victim in every mode, in random order, at random moments."""
    rng = np.random.default_rng(SEED)
    victims = ("executor", "executor", "python worker", "database", "database", "driver")
    pairs = [(victim, mode) for victim in victims for mode in MODES] + [("executor and database", "bulk")]
    made = [_round(rng, victim, mode, number) for number, (victim, mode) in enumerate(pairs)]
    for victim in ("database", "driver"):
        made.append(replace(_round(rng, victim, "bulk", len(made)), moment=None, how="", n_loads=1))
    return [made[place] for place in rng.permutation(len(made))]


def _round(rng: np.random.Generator, victim: str, mode: str, number: int) -> Round:
    is_driver = victim == "driver"
    how = DRIVER_DEATHS[mode] if is_driver else CRASHES[number % len(CRASHES)] if "database" in victim else ""
    return Round(
        victim,
        mode,
        float(rng.uniform(0.05, 0.95)),
        how,
        n_loads=1 + (mode == "bulk") if is_driver else int(rng.integers(1, 3)),
        speculate=not is_driver and bool(rng.integers(2)),
        pause_s=float(rng.uniform(0.1, 1.0)),
        seed=number,
    )


class Stage:
    """One database, one folder of files, one long-lived driver, and as many short-lived ones as are killed."""

    def __init__(self, folder: Path, sweep_files: Any) -> None:
        self.folder = folder
        self.sweep_files = sweep_files
        self.server = EmbeddedServer(folder / "server")
        self.programs: list[Program] = []
        self.n_loads = 0

    def start(self) -> None:
        self.server.start()
        self.url = self.server.url("faults")
        (self.folder / "spark").mkdir()
        self.cluster = self.program([str(DRIVER), str(self.folder / "spark")], "cluster.err")
        self.files = Files(self.folder, self.sweep_files)
        bootstrap(self.url)
        self.engine = connectable(self.url)
        migrate.upgrade(self.engine)
        assert self.cluster.answer().result(timeout=120) == "ready", self.cluster.errors.read_text()

    def end(self) -> None:
        try:
            for program in self.programs:
                program.end()
        finally:
            self.server.remove()

    def program(self, arguments: list[str], errors: str) -> Program:
        environment = {
            "STRONGLENS_DATABASE_URL": self.url.render_as_string(hide_password=False),
            "TMPDIR": str(self.folder),
            "JDK_JAVA_OPTIONS": QUICK_START,
        }
        self.programs.append(Program(arguments, environment, self.folder / errors))
        return self.programs[-1]

    def command(self, mode: str) -> Program:
        """`stronglens sweeps load` as a user types it, with a Spark of its own."""
        self.n_loads += 1
        bulk = "--bulk" if mode == "bulk" else "--no-bulk"
        place = str(self.files.folder)
        return self.program(["-m", "stronglens", "sweeps", "load", place, bulk], f"command-{self.n_loads}.err")

    def load(self, one: Round) -> Future[Any]:
        """Order a load, or two at once, from the long-lived driver."""
        return self.cluster.order(
            folder=str(self.files.folder),
            n_workers=2,
            bulk=one.mode == "bulk",
            speculate=one.speculate,
            n_loads=1 if one.victim == "driver" else one.n_loads,
        )

    def connect(self) -> psycopg.Connection[Any]:
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True)

    def prepare(self, one: Round, rng: np.random.Generator) -> set[str]:
        """Empty the pool, or change some files of a full one; return the names of the files that are to be loaded."""
        with self.connect() as connection:
            connection.execute("TRUNCATE catalog.sweep_task")
            if one.mode == "replace":
                names = set(rng.choice(sorted(self.files.now), N_FILES // 2, replace=False).tolist())
                for name in names:
                    self.files.change(name)
                return names
            connection.execute("TRUNCATE catalog.galaxy, catalog.sweep_file, catalog.brick CASCADE")
        return set(self.files.now)

    def check(self, changed: set[str]) -> None:
        with self.connect() as connection:
            self.files.check(connection, changed)

    def was_unfinished(self, one: Round, killed_at: dt.datetime | None) -> bool:
        """Tell from queue and runs whether a kill found a file, or else the indexes, yet to be done."""
        with self.connect() as connection:
            n_files, n_of_runs = connection.execute(_UNFINISHED, {"at": killed_at}).fetchone() or (0, 0)
        return bool(n_of_runs if one.moment is None else n_files)

    def wait_for_moment(self, one: Round, is_over: Callable[[], bool]) -> tuple[str, list[int], int | None]:
        """Return once the load has come as far as the round says: how far, who works on files, one of its backends."""
        with self.connect() as connection:
            started = 0.0
            while not is_over():
                n_ended, n_tasks, workers = connection.execute(_PROGRESS).fetchone() or (0, 0, None)
                backends = connection.execute(_BACKENDS).fetchall()
                if workers and not started:
                    started = time.monotonic()
                if one.moment is None and n_ended == n_tasks and (building := _building(backends)):
                    return "amid indexes", [], building[0]
                if one.moment is not None and workers and n_ended >= int(one.moment * n_tasks):
                    share = one.moment * n_tasks % 1
                    time.sleep(min(0.3, share * (time.monotonic() - started) / (n_ended + 1)))
                    n_ended, n_tasks, workers = connection.execute(_PROGRESS).fetchone() or (0, 0, None)
                    backends = connection.execute(_BACKENDS).fetchall()
                    if workers:
                        return f"{n_ended} of {n_tasks}", workers, backends[0][0] if backends else None
                time.sleep(0.01)
        return TOO_LATE, [], None

    def kill_worker(self, workers: list[int], *, executor: bool) -> dt.datetime | None:
        """Kill the Python process that works on a file, or the JVM that it belongs to; say when, or None if gone."""
        executors = set(self.cluster.find("CoarseGrainedExecutorBackend"))
        for worker in workers:
            above = executors & set(ancestors(worker))
            if above:
                return kill(above.pop() if executor else worker)
        return None


def _building(backends: list[tuple[int, str, str]]) -> list[int]:
    """Those that build an index or make it a key at this moment."""
    return [pid for pid, state, query in backends if state == "active" and query.startswith(("CREATE", "ALTER"))]


def play(stage: Stage, one: Round) -> tuple[str, int]:
    """Play a round and check the pool: how far the load was when something was killed, and Spark's second attempts."""
    changed = stage.prepare(one, np.random.default_rng(one.seed))
    if one.victim == "driver":
        found, killed_at, answers = kill_driver(stage, one)
    else:
        answers = stage.load(one)
        found, killed_at = disturb(stage, one, answers.done)
    n_speculated = assert_all_loaded(answers.result(timeout=120), stage)
    stage.check(changed)
    return found if stage.was_unfinished(one, killed_at) else TOO_LATE, n_speculated


def disturb(stage: Stage, one: Round, is_over: Callable[[], bool]) -> tuple[str, dt.datetime | None]:
    """Kill what the round says at its moment; return how far the load was, and when the last victim died."""
    found, workers, backend = stage.wait_for_moment(one, is_over)
    killed_at = None
    if found != TOO_LATE and one.victim != "database":
        killed_at = stage.kill_worker(workers, executor=one.victim.startswith("executor"))
        if killed_at is None:
            return TOO_LATE, None
    if found != TOO_LATE and one.victim.endswith("database"):
        killed_at = crash_database(stage.server, one.how, one.pause_s, backend)
    return found, killed_at


def kill_driver(stage: Stage, one: Round) -> tuple[str, dt.datetime | None, Future[Any]]:
    """Kill the driver of a load of its own amid its files, and run the load again at once; return that load too."""
    victim = stage.command(one.mode)
    other = None
    if one.n_loads == 2:
        with stage.connect() as connection:
            wait_for(lambda: connection.execute(_STARTED).fetchone() == (True,), "the load to start")
        other = stage.load(one)
    found = stage.wait_for_moment(one, lambda: victim.process.poll() is not None)[0]
    killed_at = None
    if one.how == "jvm":
        for jvm in victim.find("SparkSubmit"):
            killed_at = kill(jvm)
        wait_for(lambda: victim.process.poll() is not None, "a driver without its JVM to give up")
        errors = victim.errors.read_text()
        said = [line for line in errors.splitlines() if line and "JDK_JAVA_OPTIONS" not in line]
        assert len(said) == 1 or found == TOO_LATE, errors
    else:
        killed_at = kill(victim.process.pid)
    again = other or stage.load(one)
    wait_for(again.done, "the next load to end")
    wait_for(lambda: not victim.members(), "what a killed driver had started to end by itself")
    victim.end()
    return found, killed_at, again


def assert_all_loaded(answers: Any, stage: Stage) -> int:
    """Refuse any end but success; return how many second attempts at a task Spark has begun so far."""
    assert answers is not None, stage.cluster.errors.read_text()
    for answer in answers:
        assert "error" not in answer, answer["error"]
        bad = {name: end for name, end in answer["files"].items() if end[0] not in {"loaded", "skipped"}}
        assert not bad
    return int(answers[-1]["n_speculated"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, sweep_files: Any) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("faults"), sweep_files)
    try:
        made.start()
        yield made
    finally:
        made.end()


def test_whatever_is_killed_amid_a_load_it_ends_with_exactly_the_rows_of_the_files(stage: Stage) -> None:
    undisturbed = Round("nobody", "keys", 0.5)
    changed = stage.prepare(undisturbed, np.random.default_rng())
    assert_all_loaded(stage.load(undisturbed).result(timeout=120), stage)
    stage.check(changed)
    hits, n_speculated = [], 0
    for number, one in enumerate(rounds(), start=1):
        for share in EARLIER:
            started = time.monotonic()
            earlier = one if one.moment is None else replace(one, moment=one.moment * share)
            found, n_speculated = play(stage, earlier)
            loads = f"{one.mode}, {one.n_loads} at once{', speculating' if one.speculate else ''}"
            seconds = f"{time.monotonic() - started:.1f} s"
            print(f"{number:2}. {one.victim} {one.how}, {found}; {loads}; {seconds}", flush=True)
            if found != TOO_LATE:
                hits.append(one)
                break
    assert len(hits) >= N_HITS
    assert {one.victim for one in hits} >= {"executor", "driver", "database"}
    n_executors = sum(one.victim.startswith("executor") for one in hits)
    assert stage.cluster.errors.read_text().count("Lost executor") >= n_executors
    assert n_speculated > 0
    assert drift.check(stage.engine) == []


def test_two_loads_of_one_folder_at_once_write_every_row_once_and_both_succeed(stage: Stage) -> None:
    changed = stage.prepare(Round("nobody", "bulk", 0.5), np.random.default_rng())
    both = [stage.command("bulk") for _ in range(2)]
    for one in both:
        wait_for(lambda one=one: one.process.poll() is not None, "a load to end")
        assert one.process.returncode == 0, one.errors.read_text()
    stage.check(changed)
    assert drift.check(stage.engine) == []
    said = [one.process.stdout.read().splitlines()[0] for one in both if one.process.stdout]
    n_loaded = [int(line.split()[0]) for line in said]
    assert sum(n_loaded) == N_FILES
    assert said == [f"{n} loaded, {N_FILES - n} skipped, 0 refused of {N_FILES} sweep files" for n in n_loaded]


def test_a_worker_stays_for_the_files_of_others_who_may_die(
    engine: Engine, database_url: URL, sweep_files: Any, tmp_path: Path
) -> None:
    """As Spark kills the slower of two attempts at a task, when the other has ended."""
    sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(50))
    with engine.begin() as connection:
        run_id = insert_run(connection)
    fill_queue(engine, run_id, find_sources([str(tmp_path)]))
    task = take_task(engine, run_id, None)
    assert task is not None
    job = LoadJob(run_id, SweepLoadConfig(), database_url.render_as_string(hide_password=False))
    with ThreadPoolExecutor(1) as thread, engine.connect() as dying:
        assert hold_task(dying, task.task_id)
        other = thread.submit(work_off, job)
        with pytest.raises(TimeoutError):
            other.result(timeout=1.5)
        dying.rollback()
        other.result(timeout=60)
    assert count_ended(engine, run_id) == 1
    with engine.connect() as connection:
        assert connection.scalars(select(SweepFile.status)).all() == ["loaded"]


def test_patience_counts_the_pauses_and_not_the_work_before_them() -> None:
    n_tries = 0
    for attempt in patiently(0.2):
        with attempt:
            n_tries += 1
            if n_tries == 1:
                time.sleep(0.3)
                raise psycopg.errors.AdminShutdown
    assert n_tries == 2
