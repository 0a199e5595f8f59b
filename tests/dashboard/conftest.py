"""Run a page of the app in this process, and read what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from dashboard.serve import APP


@dataclass(frozen=True)
class Drawn:
    """A page after its first run."""

    test: AppTest

    @property
    def html(self) -> str:
        return "\n".join(one.proto.body for one in self.test.get("html"))

    @property
    def text(self) -> str:
        """Everything that a reader reads, boxes and headings included."""
        boxes = [
            one.value for kind in ("markdown", "error", "info", "warning", "caption") for one in self.test.get(kind)
        ]
        return "\n".join([self.html, *boxes])

    @property
    def errors(self) -> list[str]:
        return [one.value for one in self.test.error]

    @property
    def tiles(self) -> list[dict[str, Any]]:
        """Link, rank and score of each tile of the gallery."""
        pattern = r'<a class="sl-tile" href="([^"]+)".*?<span class="sl-rank">(\d+)</span><span>([\d.]+)</span>'
        return [
            {"href": href, "rank": int(rank), "score": float(score)}
            for href, rank, score in re.findall(pattern, self.html, re.DOTALL)
        ]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    st.cache_data.clear()
    st.cache_resource.clear()


def draw(page: str, **choices: str) -> Drawn:
    """Open a page by its address, with choices as its query."""
    test = AppTest.from_file(str(APP), default_timeout=60)
    test._page_hash = calc_hash(page)  # the pages are functions, which switch_page cannot name
    for name, value in choices.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception, test.exception
    return Drawn(test)
