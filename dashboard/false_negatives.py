"""False negatives: lens candidates that fall below a threshold, the lowest score first."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import filters, gallery, numerals, queries
from dashboard.frame import Frame, chosen_model
from dashboard.gallery import Tile
from dashboard.queries import ErrorFilter


def show(frame: Frame) -> None:
    """Show the page."""
    model = chosen_model(frame)
    if model is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        fpr_target = filters.choose_operating_point(queries.threshold_table(frame.engine, model.model_id))
        split = filters.choose_split()
        tier = filters.choose_word("Tier", ["A", "B"], "tier")
    filters.warn_of_the_test_split(split)
    kinds = (("tier", tier),) if tier else ()
    found = queries.false_negatives(frame.engine, ErrorFilter(model.model_id, fpr_target, split, kinds))
    if not found:
        st.info("No positive of this kind is below the threshold: choose a stricter operating point or another split.")
        return
    more = f"the {len(found)} lowest" if len(found) == queries.MAX_ROWS else str(len(found))
    summary = f"{more} candidate{'s' if len(found) > 1 else ''} missed at FPR {numerals.target(fpr_target)}"
    gallery.show([_tile(rank, row) for rank, row in enumerate(found, 1)], summary=summary, survey=model.survey)


def _tile(rank: int, row: dict[str, Any]) -> Tile:
    stratum = f"{row['type']} {row['nobs_z_bin']}" if row["nobs_z_bin"] else "no stratum"
    found_by = row["discovery"].replace("_", " ")
    return Tile(
        uri=row["uri"],
        ra=row["ra"],
        dec=row["dec"],
        rank=rank,
        score=row["score"],
        caption=f"{row['split']} · {stratum}",
        name=row["lens_name"],
        tooltip=(
            f"{row['lens_name']} | {numerals.position(row['ra'], row['dec'])} | tier {row['tier']}, "
            f"found by {found_by} | {row['split']}, {stratum} | score {row['score']:.6f}"
        ),
        badge=row["tier"],
    )
