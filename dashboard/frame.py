"""What surrounds every page: the banner, the choice of a model, and errors told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from dashboard import queries
from dashboard.queries import ModelChoice
from db.errors import StronglensError
from db.models import Survey

MOCK_BANNER = "Mock sky: a stand-in survey. No number here says anything about DR10."
NO_MODEL = (
    "No model has been evaluated yet: run `stronglens train CONFIG.yaml`, `stronglens score MODEL` and "
    "`stronglens evaluate MODEL`, or all stages on the mock sky with `stronglens demo`."
)


@dataclass(frozen=True)
class Frame:
    """What a page is about: a database, and the chosen model where one has been evaluated."""

    engine: Engine
    model: ModelChoice | None


def open_frame(title: str) -> Frame:
    """Put the title, the choice of a model and the banner on the page.

    Raises
    ------
    StronglensError
        When the database cannot be used.
    """
    line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
    line.markdown(f"## {title}", width="content")
    engine = queries.engine()
    found = {choice.name: choice for choice in queries.models(engine)}
    name = None
    if found:
        with line.container(horizontal=True, vertical_alignment="center", width="content"):
            st.markdown("Model", width="content")
            name = st.selectbox(
                "Model", list(found), key="model", bind="query-params", width=280, label_visibility="collapsed"
            )
    frame = Frame(engine, found.get(name) if name else None)
    if _is_mock(frame):
        st.html(f'<div class="sl-banner" role="note">{MOCK_BANNER}</div>')
    return frame


def chosen_model(frame: Frame) -> ModelChoice | None:
    """The model of the page; where there is none, the page says what to run."""
    if frame.model is None:
        st.info(NO_MODEL)
    elif frame.model.is_label_shuffled:
        st.caption("This model is a control: it was trained on shuffled labels and must know nothing.")
    return frame.model


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Show what a user can cause as one line that says what to do."""
    try:
        yield
    except StronglensError as exc:
        st.error(" ".join(str(exc).split()))
    except DBAPIError as exc:
        queries.forget_engine()
        st.error(f"The database failed: {' '.join(str(exc.orig).split())}. See `stronglens db status`, then reload.")


def _is_mock(frame: Frame) -> bool:
    if frame.model is not None:
        return frame.model.survey == Survey.MOCK
    return any(row["survey"] == Survey.MOCK for row in queries.stage_counts(frame.engine))
