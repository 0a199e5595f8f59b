"""Choices that several galleries offer; each is part of the page's address, so that a view can be sent to others."""

from __future__ import annotations

import streamlit as st

from dashboard import numerals
from dashboard.queries import Rows
from db.models import Split

ALL = "all"


def choose_split() -> str | None:
    """One split, or None for all of them."""
    options = [str(split) for split in (Split.VAL, Split.TEST, Split.TRAIN)]
    chosen = st.segmented_control(
        "Split", [*options, ALL], default=options[0], required=True, key="split", bind="query-params"
    )
    return None if chosen == ALL else chosen


def choose_operating_point(thresholds: Rows) -> float:
    """One target false-positive rate out of those that were evaluated, the loosest first."""
    by_label = {f"FPR {numerals.target(row['fpr_target'])}": row for row in thresholds}
    label = st.selectbox(
        "Operating point",
        list(by_label),
        format_func=lambda one: f"{one} (score ≥ {by_label[one]['threshold']:.4f})",
        key="fpr",
        bind="query-params",
        width=260,
    )
    return float(by_label[label]["fpr_target"])


def choose_word(label: str, words: list[str], key: str) -> str | None:
    """One word out of a list, or None for all."""
    chosen = st.selectbox(label, [ALL, *words], key=key, bind="query-params", width=150)
    return None if chosen == ALL else chosen


def warn_of_the_test_split(split: str | None) -> None:
    """Say what looking at these objects costs."""
    if split in (Split.TEST, None):
        st.caption("These include test objects: a model or rule that is chosen by looking at them is no longer tested.")
    elif split == Split.TRAIN:
        st.caption("The model was trained on these objects: its scores here say nothing about new ones.")
