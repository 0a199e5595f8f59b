"""The database of the benchmark: a durable server of its own, in a folder that goes when the benchmark ends."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from db import migrate
from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.embedded.binaries import binaries
from db.engine import connectable

BYTES_PER_ROW = 350
"""Room that a row takes: the pool with its indexes is 270 bytes; the rest is for WAL and sorting."""
ROOM_BYTES = 8 << 30
_POLL_S = 1.0


class NotEnoughError(Exception):
    """Something that the benchmark needs is not there; one line that says what to do."""


@contextmanager
def bench_server(home: Path, n_rows: int, *, keep: bool = False) -> Iterator[EmbeddedServer]:
    """Start a server in `home`; unless it is to be kept, it is removed with all it holds, whatever happens.

    Raises
    ------
    NotEnoughError
        When the disk has too little room.
    """
    server = EmbeddedServer(home, durable=True)
    needed = 0 if server.status().state != "absent" else n_rows * BYTES_PER_ROW + ROOM_BYTES
    free = shutil.disk_usage(server.places.root.parent if server.places.root.parent.exists() else home).free
    if free < needed:
        shutil.rmtree(home)
        raise NotEnoughError(
            f"{home}: {free / 1e9:.0f} GB are free on this disk, {n_rows:,} rows need {needed / 1e9:.0f} GB; "
            "make room or give fewer --rows"
        )
    try:
        server.start()
        yield server
    finally:
        if keep:
            server.stop()
        else:
            server.remove()
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def pool_engine(server: EmbeddedServer, database: str = "bench") -> Iterator[Engine]:
    """Bring a database to the head of the migrations and open it; an existing one is upgraded and keeps its rows."""
    url = server.url(database)
    bootstrap(url)
    engine = connectable(url)
    try:
        migrate.upgrade(engine)
        with engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_prewarm"))
        yield engine
    finally:
        engine.dispose()


@contextmanager
def over_tcp(server: EmbeddedServer, database: str) -> Iterator[URL]:
    """Let the server also listen on 127.0.0.1, which JDBC needs; it is restarted before and afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = shlex.split((server.places.data / "postmaster.opts").read_text())
    options = shlex.join([*command[3:], "-c", "listen_addresses=127.0.0.1", "-c", f"port={port}"])
    _restart(server, "-o", options)
    try:
        yield server.url(database).set(host="127.0.0.1", port=port, query={})
    finally:
        server.stop()
        server.start()


def _restart(server: EmbeddedServer, *options: str) -> None:
    here = server.places
    other = here.owner.uid != os.geteuid()
    subprocess.run(
        [binaries().program("pg_ctl"), "restart", "-w", "-m", "fast", "-D", here.data, "-l", here.log, *options],
        user=here.owner.uid if other else None,
        group=here.owner.gid if other else None,
        extra_groups=[] if other else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )


class DiskWatch:
    """Remembers the most bytes that some folders took together, looking once a second."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            self.peak_bytes = max(self.peak_bytes, sum(_bytes_on_disk(folder) for folder in self._folders))


def _bytes_on_disk(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 - each second
            except FileNotFoundError:  # it went while we looked
                continue
    return total
