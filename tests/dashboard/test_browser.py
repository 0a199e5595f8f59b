"""The command, and the dashboard in a real browser."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy.engine import URL

from dashboard.app import PAGES
from dashboard.frame import MOCK_BANNER
from dashboard.screenshot import SIZE, browser_page, open_page
from db.settings import CHECKOUT

RunCli = Callable[..., subprocess.CompletedProcess[str]]

FAULTS = ("Traceback", "Exception", "Page not found", "no image", "Oh no", "Uncaught")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dashboard_running() -> Iterator[str]:
    """Start the command and give the address that it prints."""
    command = [sys.executable, "-m", "stronglens", "dashboard", "--headless", "--port", str(free_port())]
    started = subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        assert line.startswith("dashboard: http://127.0.0.1:"), line
        yield line.split()[1]
    finally:
        started.terminate()
        try:
            assert started.wait(timeout=30) == 0
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)


def test_the_browser_shows_real_thumbnails_in_both_galleries(populated: Any, tmp_path: Path) -> None:
    with dashboard_running() as url, browser_page() as page:
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name, (title, _) in PAGES.items():
            open_page(page, f"{url}/{name}?split=all&model={populated.model}")
            page.screenshot(path=tmp_path / f"{name or 'overview'}.png")
            body = page.inner_text("body")
            assert title in body
            assert MOCK_BANNER in body
            assert not [word for word in FAULTS if word in body]
            edges = page.locator(".sl-table, .sl-gallery").evaluate_all(
                "all => all.map(one => one.getBoundingClientRect().right)"
            )
            assert max(edges) <= SIZE[0]
            if name not in ("candidates", "false-positives"):
                continue
            images = page.locator(".sl-gallery img")
            n_images = images.count()
            assert n_images > 0
            assert min(images.evaluate_all("all => all.map(one => one.naturalWidth)")) > 50
            for place in {0, n_images - 1}:
                images.nth(place).scroll_into_view_if_needed()
                drawn = pixels(images.nth(place).screenshot())
                assert len(np.unique(drawn, axis=0)) > 50
            link = page.locator(".sl-gallery a").first
            assert link.get_attribute("target") == "_blank"
            assert str(link.get_attribute("href")).startswith("https://www.legacysurvey.org/viewer?ra=")
        assert not faults


def test_the_command_runs_on_an_empty_database_and_the_page_says_what_to_run(database_url: URL) -> None:
    with dashboard_running() as url, browser_page() as page:
        open_page(page, url)
        assert "stronglens demo" in page.inner_text('[data-testid="stAlert"]')


def test_the_screenshot_command_writes_the_page(populated: Any, tmp_path: Path) -> None:
    out = tmp_path / "images" / "dashboard.png"
    with dashboard_running() as url:
        command = [sys.executable, "-m", "dashboard.screenshot", "candidates", "--url", url, "--out", str(out)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"wrote {out}\n"), done.stderr
    assert Image.open(out).size == SIZE


def test_a_screenshot_without_a_dashboard_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboard.screenshot", "--url", f"http://127.0.0.1:{free_port()}"]
    done = subprocess.run([*command, "--out", str(tmp_path / "x.png")], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: http://127.0.0.1")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(run_cli: RunCli, database_url: URL) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_cli("dashboard", "--headless", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: cannot listen on port {port} of 127.0.0.1 (Address already in use): "
        "choose another with --port or --host\n"
    )


@pytest.mark.parametrize("url", ["postgresql://u@localhost:1/x", "not a url"])
def test_a_database_that_cannot_be_used_stops_the_command_in_one_line(run_cli: RunCli, url: str) -> None:
    done = run_cli("dashboard", "--headless", "--port", str(free_port()), STRONGLENS_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
