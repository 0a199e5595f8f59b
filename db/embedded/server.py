"""The life of the private cluster: made once, started on demand, stopped, recovered after a crash."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

from db.embedded.binaries import Binaries, binaries
from db.embedded.places import Places, places, private_folder
from db.embedded.processes import postmaster, server_processes
from db.errors import ServerError

SUPERUSER = "stronglens"
DATABASE = "stronglens"
PORT = 5432
_START_SECONDS = 120
_ORPHAN_SECONDS = 90

# A laptop's share of memory; no TCP: the socket's folder is the only way in.
_PARAMETERS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "512MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "effective_cache_size": "2GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    # Nobody copies this server's log: what is new as a whole, such as an index, need not pass through it.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

State = Literal["absent", "stopped", "running"]


@dataclass(frozen=True)
class ServerStatus:
    """State of a cluster: ``pid`` is None unless it is running, ``major`` is None before it is made."""

    state: State
    pid: int | None
    major: int | None
    data: Path
    socket: Path


class EmbeddedServer:
    """The PostgreSQL cluster of one home folder.

    Parameters
    ----------
    home
        Working folder of the checkout; holds the cluster, or for root the identity of one under /var/lib.
    durable
        False for a server whose data may be lost in a crash, as in tests: nothing is flushed to disk.
    """

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home = home.resolve()
        self.durable = durable

    @property
    def places(self) -> Places:
        """Where the cluster is."""
        return places(self.home, as_root=os.geteuid() == 0)

    def start(self) -> None:
        """Make the cluster if there is none and start it if it is not running.

        Raises
        ------
        ServerError
            When the binaries or Q3C are missing, or the server does not come up.
        """
        with self._locked():
            here = self.places
            private_folder(here.root, here.owner)
            private_folder(here.socket, here.owner)
            running = postmaster(here.data)
            if running and self._socket_file(here).exists():
                return
            if running:  # its socket was swept away, and a server never makes it again
                self._stop(here)
            if not here.data.exists():
                self._initialise(here)
            self._clear_crash(here)
            self._launch(here)

    def stop(self) -> None:
        """Stop the server, ending open sessions; nothing happens when it is not running."""
        if not self.home.exists():
            return
        with self._locked():
            here = self.places
            if postmaster(here.data):
                self._stop(here)

    def remove(self) -> None:
        """Stop the server and delete the cluster with all its databases."""
        if not self.home.exists():
            return
        self.stop()
        with self._locked():
            here = self.places
            for folder in (here.root, here.socket):
                if folder.exists():
                    shutil.rmtree(folder)

    def status(self) -> ServerStatus:
        """Say whether the cluster exists and runs; starts and waits for nothing."""
        self._make_home()
        here = self.places
        pid = postmaster(here.data)
        major = _major(here.data)
        not_running: State = "stopped" if major else "absent"
        return ServerStatus("running" if pid else not_running, pid, major, here.data, here.socket)

    def url(self, database: str = DATABASE) -> URL:
        """URL of a database of this server, for its superuser, through the socket."""
        query = {"host": str(self.places.socket), "port": str(PORT)}
        return URL.create("postgresql+psycopg", username=SUPERUSER, database=database, query=query)

    def _make_home(self) -> None:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            fix = "set STRONGLENS_HOME to a writable folder"
            raise ServerError(f"cannot make the working folder {self.home}: {exc.strerror}; {fix}") from exc

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time make, start or stop this cluster; the lock dies with its holder."""
        self._make_home()
        try:
            lock = (self.home / "pg.lock").open("a")
        except OSError as exc:
            fix = "set STRONGLENS_HOME to a writable folder"
            raise ServerError(f"cannot write in {self.home}: {exc.strerror}; {fix}") from exc
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _initialise(self, here: Places) -> None:
        found = binaries()
        for leftover in here.root.glob("data.*"):  # of an initdb that died
            shutil.rmtree(leftover)
        draft = here.root / f"data.{os.getpid()}"
        options = ["--auth=trust", f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C.UTF-8"]
        if not self.durable:
            options.append("--no-sync")
        _run_as_owner(here, [found.program("initdb"), *options, "-D", str(draft)])
        draft.rename(here.data)

    def _clear_crash(self, here: Places) -> None:
        """Remove what a killed server left, once the last of its processes is gone."""
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while orphans := server_processes(here.data):
            if time.monotonic() > deadline:
                raise ServerError(f"processes {orphans} of a killed server still use {here.data}; end them first")
            time.sleep(0.05)
        (here.data / "postmaster.pid").unlink(missing_ok=True)
        for leftover in here.socket.glob(".s.PGSQL.*"):
            leftover.unlink(missing_ok=True)

    def _launch(self, here: Places) -> None:
        parameters = _PARAMETERS | ({} if self.durable else _NOT_DURABLE)
        parameters |= {"unix_socket_directories": str(here.socket), "port": str(PORT)}
        options = shlex.join(word for item in parameters.items() for word in ("-c", "=".join(item)))
        self._pg_ctl(here, "start", "-w", "-t", str(_START_SECONDS), "-l", str(here.log), "-o", options)

    def _stop(self, here: Places) -> None:
        self._pg_ctl(here, "stop", "-w", "-m", "fast")

    def _pg_ctl(self, here: Places, action: str, *options: str) -> None:
        found: Binaries = binaries(_major(here.data))
        _run_as_owner(here, [found.program("pg_ctl"), action, "-D", str(here.data), *options])

    @staticmethod
    def _socket_file(here: Places) -> Path:
        return here.socket / f".s.PGSQL.{PORT}"


def _major(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None


def _run_as_owner(here: Places, command: list[str]) -> None:
    """Run one of PostgreSQL's programs as the cluster's owner; of our environment it sees only the path."""
    other = here.owner.uid != os.geteuid()
    done = subprocess.run(
        command,
        user=here.owner.uid if other else None,
        group=here.owner.gid if other else None,
        extra_groups=[] if other else None,
        umask=0o077,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = _last_problem(here.log) if "pg_ctl" in command[0] else ""
        reason = reason or " ".join((done.stderr or done.stdout).split())
        raise ServerError(f"{Path(command[0]).name} failed for {here.data}: {reason} (log: {here.log})")


def _last_problem(log: Path) -> str:
    if not log.exists():
        return ""
    lines = log.read_text(errors="replace").splitlines()[-30:]
    return next((line for line in reversed(lines) if "FATAL" in line or "PANIC" in line), "")
