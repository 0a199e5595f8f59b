"""Runs of `cutouts make` that are cut off: nothing is lost, nothing doubled, nothing half there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from db.models.imaging import Cutout, CutoutSource
from db.models.provenance import Run
from db.settings import CHECKOUT
from etl.cutouts.brick import BrickResult, Piece
from etl.cutouts.files import read_cutout
from etl.cutouts.make import make_cutouts
from etl.distribute import in_processes
from etl.errors import EtlError
from tests.etl.cutout_sky import N_MEMBERS, Sky, brick_name, make_sky, write_bricks

DEADLY = brick_name(6)


@pytest.fixture(scope="module")
def bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bricks(tmp_path_factory.mktemp("bricks"))


@pytest.fixture
def sky(engine: Engine, bricks: Path, tmp_path: Path) -> Sky:
    return make_sky(engine, bricks, tmp_path / "store")


def hashes(sky: Sky, version: str) -> dict[tuple[object, object], tuple[object, object]]:
    return {
        (row["lens_id"], row["ls_id"]): (row["sha256"], row["status"])
        for row in sky.cutouts().values()
        if row["version"] == version
    }


def assert_whole(sky: Sky, version: str) -> None:
    """Every member has one row, every row its file, every file its row, and every row its source."""
    rows = [row for row in sky.cutouts().values() if row["version"] == version]
    assert len(rows) == len(hashes(sky, version)) == N_MEMBERS
    stored = {row["uri"] for row in rows if row["status"] != "rejected"}
    keys = {key for kind in ("positives", "negatives") for key in sky.store.keys(f"cutouts/{kind}/{version}/")}
    assert {sky.store.uri(key) for key in keys} == stored
    for key in keys:
        read_cutout(sky.store.get_bytes(key))
    with sky.engine.connect() as connection:
        linked = set(connection.scalars(select(CutoutSource.cutout_id)))
    assert {row["cutout_id"] for row in rows} <= linked


def start(sky: Sky) -> subprocess.Popen[bytes]:
    arguments = ["cutouts", "make", "--draw", "small", "--coadds", str(sky.coadds), "--workers", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "stronglens", *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"STRONGLENS_STORE": str(sky.store.root)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_run_that_is_killed_amid_its_files_is_ended_by_the_next(sky: Sky) -> None:
    victim = start(sky)
    try:
        until = time.monotonic() + 60
        while not sky.store.keys("cutouts/") and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        os.killpg(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    left = sky.store.keys("cutouts/")
    assert 0 < len(left) < N_MEMBERS - 1
    assert sky.count(Cutout) == 0
    for key in left:
        read_cutout(sky.store.get_bytes(key))
    make_cutouts(sky.engine, sky.config(), sky.address)
    assert_whole(sky, "v1")
    make_cutouts(sky.engine, sky.config(version="v2"), sky.address)
    assert_whole(sky, "v2")
    assert hashes(sky, "v1") == hashes(sky, "v2")


def deadly(work: Callable[[Piece], BrickResult], piece: Piece) -> BrickResult:
    """Do a piece of work in a process that one brick kills after it was cut."""
    result = work(piece)
    if piece.brickname == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def in_mortal_processes(
    work: Callable[[Piece], BrickResult], pieces: Sequence[Piece]
) -> AbstractContextManager[Iterator[BrickResult]]:
    return in_processes(2)(partial(deadly, work), pieces)


def test_a_worker_that_dies_ends_the_run_in_one_line_and_the_next_run_makes_the_rest(sky: Sky) -> None:
    with pytest.raises(EtlError, match="a worker process died") as caught:
        make_cutouts(sky.engine, sky.config(), sky.address, None, in_mortal_processes)
    assert "\n" not in str(caught.value)
    with sky.engine.connect() as connection:
        assert connection.scalars(select(Run.status).where(Run.command == "cutouts make")).all() == ["failed"]
    before = sky.count(Cutout)
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert summary.n_present == before
    assert_whole(sky, "v1")


def test_rows_are_written_a_batch_at_a_time_so_that_a_run_that_ends_early_keeps_them(
    sky: Sky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.cutouts.record.BATCH_ROWS", 10)
    n_before_death = 0

    def tell(done: int, _total: int) -> None:
        nonlocal n_before_death
        n_before_death = sky.count(Cutout)
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_cutouts(sky.engine, sky.config(), sky.address, tell)
    assert sky.count(Cutout) == n_before_death > 20
    summary = make_cutouts(sky.engine, sky.config(), sky.address)
    assert summary.n_present == n_before_death
    assert_whole(sky, "v1")
