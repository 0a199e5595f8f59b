"""Run the app in a Streamlit server of its own until it is interrupted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dashboard.errors import DashboardError
from db.engine import open_engine

APP = Path(__file__).with_name("app.py")
_START_SECONDS = 60


def serve(host: str, port: int, *, open_browser: bool, say: Callable[[str], None]) -> None:
    """Check the database, start the server, say its address, and wait until it ends.

    Raises
    ------
    StronglensError
        When the database is not fit, the port is taken, or the server does not come up.
    """
    open_engine().dispose()
    _refuse_taken(host, port)
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    with _running(_command(host, port)) as server:
        _wait(server, host, port)
        say(f"dashboard: {url} (Ctrl-C stops it)")
        if open_browser and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)):
            webbrowser.open(url)
        status = server.wait()
    if status not in (0, -signal.SIGTERM, -signal.SIGINT):
        raise DashboardError(f"the dashboard's server ended with status {status}: see its messages above")


def _command(host: str, port: int) -> list[str]:
    # Headless: else Streamlit asks for an e-mail address at its first start.
    options = {"server.address": host, "server.port": str(port), "server.headless": "true", "logger.level": "warning"}
    return [
        *(sys.executable, "-m", "streamlit", "run", str(APP)),
        *(f"--{name}={value}" for name, value in options.items()),
        "--browser.gatherUsageStats=false",
    ]


def _refuse_taken(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else str(exc)
        raise DashboardError(
            f"cannot listen on port {port} of {host} ({reason}): choose another with --port or --host"
        ) from exc


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server, and end it with us however we end."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield server
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    finally:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        signal.signal(signal.SIGTERM, before)


def _wait(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    nearest = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise DashboardError(
                f"the dashboard's server ended with status {server.returncode}: see its messages above"
            )
        try:
            with urllib.request.urlopen(f"http://{nearest}:{port}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise DashboardError(f"the dashboard's server did not answer within {_START_SECONDS} s")
