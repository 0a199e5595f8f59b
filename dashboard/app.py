"""The Streamlit app: `stronglens dashboard` runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard import candidates, false_negatives, false_positives, overview, performance
from dashboard.frame import Frame, errors_in_one_line, open_frame

PAGES: dict[str, tuple[str, Callable[[Frame], None]]] = {
    "": ("Overview", overview.show),
    "performance": ("Performance", performance.show),
    "candidates": ("Top candidates", candidates.show),
    "false-positives": ("False positives", false_positives.show),
    "false-negatives": ("False negatives", false_negatives.show),
}


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config(page_title="stronglens", layout="wide")
    st.html(Path(__file__).with_name("style.css"))
    pages = [
        st.Page(_page(title, show), title=title, url_path=name, default=not name)
        for name, (title, show) in PAGES.items()
    ]
    st.navigation(pages, position="top").run()


def _page(title: str, show: Callable[[Frame], None]) -> Callable[[], None]:
    def run() -> None:
        with errors_in_one_line():
            show(open_frame(title))

    return run


if __name__ == "__main__":
    main()
