"""The processes of a load and of its database, and how the fault test ends them."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

from db.embedded import EmbeddedServer
from db.settings import CHECKOUT

_PROC = Path("/proc")
_LONGEST_S = 120.0


class Program:
    """A Python program in a session of its own, with all that it starts."""

    def __init__(self, arguments: list[str], environment: dict[str, str], errors: Path) -> None:
        self.errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=CHECKOUT,
                env=os.environ | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self._threads = ThreadPoolExecutor(1)

    def order(self, **order: Any) -> Future[Any]:
        """Write a line to its input; its next line of output is the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> Future[Any]:
        """Wait, elsewhere, for its next line of output."""
        assert self.process.stdout is not None
        return self._threads.submit(lambda: json.loads(self.process.stdout.readline() or "null"))

    def members(self) -> list[int]:
        """Every live process that it has started, at whatever depth, and itself."""
        return [pid for pid in _pids() if _stat(pid).get("session") == self.process.pid]

    def find(self, word: str) -> list[int]:
        """Those of its processes that have a word in their command lines."""
        return [pid for pid in self.members() if word in _command(pid)]

    def end(self) -> None:
        """Kill it with all that it started."""
        wait_for(lambda: not [kill(pid) for pid in self.members()], "its processes to die")
        self.process.communicate()
        self._threads.shutdown()


def kill(pid: int, how: signal.Signals = signal.SIGKILL) -> dt.datetime | None:
    """Send a signal to a process, and say when; None when it has gone."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return None
    return dt.datetime.now(dt.UTC)


def ancestors(pid: int) -> Iterator[int]:
    """The process itself, its parent, and so on."""
    while pid > 1:
        yield pid
        pid = _stat(pid).get("parent", 0)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until something is so."""
    deadline = time.monotonic() + _LONGEST_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {_LONGEST_S:.0f} s for {what}"
        time.sleep(0.01)


def crash_database(server: EmbeddedServer, how: str, pause_s: float, backend: int | None) -> dt.datetime | None:
    """End the server, or one of its processes, which brings down the others; start it again after a pause.

    Return when the signal was sent; None when the backend had gone.
    """
    pid = server.status().pid
    assert pid is not None
    if how == "backend killed" and backend is not None:
        killed_at = kill(backend)
        wait_for(lambda: _accepts(server), "the server to recover by itself")
        return killed_at
    killed_at = kill(pid, {"stopped fast": signal.SIGINT, "stopped at once": signal.SIGQUIT}.get(how, signal.SIGKILL))
    wait_for(lambda: server.status().pid is None, "the server to end")
    time.sleep(pause_s)
    server.start()
    return killed_at


def _accepts(server: EmbeddedServer) -> bool:
    try:
        psycopg.connect(server.url("postgres").set(drivername="postgresql").render_as_string()).close()
    except psycopg.OperationalError:
        return False
    return True


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in _PROC.glob("[0-9]*"))


def _stat(pid: int) -> dict[str, int]:
    """Parent and session of a live process; nothing for one that is gone, or dead and waiting to be buried."""
    try:
        state, parent, _group, session = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return {}
    return {} if state in "ZX" else {"parent": int(parent), "session": int(session)}


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
