"""False positives: negatives that pass a threshold, beside the rate of each kind."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import filters, gallery, html_table, numerals, queries
from dashboard.frame import Frame, chosen_model
from dashboard.gallery import Tile
from dashboard.html_table import Column
from dashboard.queries import ErrorFilter, ModelChoice, Rows
from db.models import Split
from db.models.sampling import CONFUSER_CATEGORIES

RATES = (
    Column("Negatives", lambda row: _kind(row["pool"], row["category"])),
    Column("k / n", lambda row: numerals.of(row["k"], row["n"]), is_number=True),
    Column("FPR [95 %]", lambda row: numerals.small(row["fpr"], row["fpr_lo"], row["fpr_hi"]), is_number=True),
)


def show(frame: Frame) -> None:
    """Show the page."""
    model = chosen_model(frame)
    if model is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fpr_target = filters.choose_operating_point(queries.threshold_table(frame.engine, model.model_id))
        split = filters.choose_split()
        pool = filters.choose_word("Pool", ["N1", "N2"], "pool")
        category = filters.choose_word("Confuser", list(CONFUSER_CATEGORIES), "confuser")
    filters.warn_of_the_test_split(split)
    kinds = tuple((name, word) for name, word in (("pool", pool), ("category", category)) if word)
    images, rates = st.columns([0.68, 0.32], gap="medium")
    with images:
        found = queries.false_positives(frame.engine, ErrorFilter(model.model_id, fpr_target, split, kinds))
        _show_images(found, model, fpr_target)
    with rates:
        _show_rates(frame, model, fpr_target, split)


def _show_images(found: Rows, model: ModelChoice, fpr_target: float) -> None:
    if not found:
        st.info("No negative of this kind passes the threshold: choose a looser operating point or another split.")
        return
    more = f"the {len(found)} highest" if len(found) == queries.MAX_ROWS else str(len(found))
    summary = f"{more} false positive{'s' if len(found) > 1 else ''} at FPR {numerals.target(fpr_target)}"
    gallery.show([_tile(rank, row) for rank, row in enumerate(found, 1)], summary=summary, survey=model.survey)


def _show_rates(frame: Frame, model: ModelChoice, fpr_target: float, split: str | None) -> None:
    for one in (split,) if split else (Split.VAL, Split.TEST):
        rows = queries.fpr_by_contaminant(frame.engine, model.model_id, fpr_target, one)
        st.markdown(f"### False-positive rate, {one} split")
        if not rows:
            st.caption("Rates are published for the splits val and test.")
            continue
        html_table.show(rows, RATES)
    st.caption(
        "N1: drawn as the survey has them; N2: hard confusers, enriched. Rates of the sample as drawn, Wilson "
        "intervals; no rate where n < 10. The gallery leaves out negatives within 11 arcsec of a lens known now; the "
        "rates count all."
    )


def _kind(pool: str, category: str | None) -> str:
    if pool == "negatives":
        return "all"
    return f"{pool} {category.replace('_', ' ')}" if category else pool


def _tile(rank: int, row: dict[str, Any]) -> Tile:
    kind = _kind(row["pool"], row["category"])
    magnitude = "no r flux" if row["mag_r_ab"] is None else f"r = {row['mag_r_ab']:.2f}"
    return Tile(
        uri=row["uri"],
        ra=row["ra"],
        dec=row["dec"],
        rank=rank,
        score=row["score"],
        caption=f"{row['split']} · {kind}",
        name=numerals.position(row["ra"], row["dec"]),
        tooltip=(
            f"{numerals.position(row['ra'], row['dec'])} | {row['type']}, {magnitude}, nobs_z {row['nobs_z_bin']} | "
            f"{row['split']}, {kind} | score {row['score']:.6f} | ls_id {row['ls_id']}"
        ),
        badge=row["type"],
    )
