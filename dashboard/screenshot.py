"""Photograph a page of a running dashboard: ``python -m dashboard.screenshot [PAGE] [--url URL] [--out FILE]``.

The README's picture, docs/images/dashboard.png, is made so. It needs Chromium, as `setup.sh --tests` installs it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dashboard.errors import DashboardError
from db.errors import StronglensError
from db.settings import CHECKOUT

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE = (1280, 900)
_PATIENCE_MS = 60_000


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a headless Chromium of this machine.

    Raises
    ------
    DashboardError
        When there is none.
    """
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise DashboardError("no Chromium on this machine: run `./setup.sh --tests`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.set_default_timeout(_PATIENCE_MS)
        yield page
        browser.close()


def open_page(page: Page, url: str) -> None:
    """Open an address of the dashboard and wait until the app has drawn the page.

    Raises
    ------
    DashboardError
        When nothing answers there.
    """
    from playwright.sync_api import Error

    try:
        page.goto(url)
        page.wait_for_selector("h2")
        page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        # Streamlit fetches each kind of element when it first draws one, and shows a grey bar until then.
        page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
        page.wait_for_load_state("networkidle")
        page.wait_for_function("[...document.images].every(image => image.complete)")
        page.evaluate("document.fonts.ready.then(() => true)")  # text is not painted before its font is there
    except Error as exc:
        raise DashboardError(f"{url}: no dashboard there ({exc.message.splitlines()[0]}); start one first") from exc


def take(
    page: Annotated[str, typer.Argument(help="Page, by its address; '' is the overview.")] = "candidates",
    url: Annotated[str, typer.Option(help="Address of the dashboard.")] = "http://127.0.0.1:8501",
    out: Annotated[Path, typer.Option(help="File to write.")] = CHECKOUT / "docs" / "images" / "dashboard.png",
) -> None:
    """Photograph one page of a running dashboard."""
    with browser_page() as opened:
        open_page(opened, f"{url}/{page}")
        out.parent.mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=out)
    typer.echo(f"wrote {out}")


if __name__ == "__main__":
    try:
        typer.run(take)
    except StronglensError as exc:
        sys.exit(f"error: {exc}")
