"""Top candidates: the best-ranked cutouts of a model, with what is known at each position."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import filters, gallery, numerals, queries
from dashboard.frame import Frame, chosen_model
from dashboard.gallery import Tile

DEPTHS = (100, 300, 1000)


def show(frame: Frame) -> None:
    """Show the page."""
    model = chosen_model(frame)
    if model is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = filters.choose_split()
        depth = st.selectbox("Ranks 1 to", DEPTHS, index=len(DEPTHS) - 1, key="depth", bind="query-params", width=110)
        only_unknown = st.checkbox(
            "Only unknown",
            key="unknown",
            bind="query-params",
            help='No known lens or cluster core within 11", of all catalogs that were loaded.',
            width="content",
        )
    filters.warn_of_the_test_split(split)
    ranked = queries.top_candidates(frame.engine, model.model_id, int(depth))
    chosen = [
        row
        for row in ranked
        if split in (None, row["split"]) and not (only_unknown and row["known_lens_name"] is not None)
    ]
    if not ranked:
        st.info(f"Model {model.name} has no scores: run `stronglens score {model.name}`.")
    elif not chosen:
        st.info(f"None of the {len(ranked)} best-ranked cutouts is of this kind: choose another split or more ranks.")
    else:
        n_known = sum(row["known_lens_name"] is not None for row in chosen)
        summary = f"{len(chosen)} of the {len(ranked)} highest scores; {n_known} at a known lens"
        gallery.show([_tile(row) for row in chosen], summary=summary, survey=model.survey)


def _tile(row: dict[str, Any]) -> Tile:
    kind = " ".join(word for word in (row["pool"], row["category"]) if word).replace("_", " ")
    what = f"tier {row['tier']}" if row["tier"] else kind or "outside the draw"
    known, badge = "no known lens within 11 arcsec", ""
    if row["known_lens_name"]:
        away = row["known_lens_separation_arcsec"]
        known = f"{row['known_lens_name']}, {away:.1f} arcsec away" if away else row["known_lens_name"]
        badge = f'{away:.1f}" from lens' if away else row["tier"] or "lens"
    return Tile(
        uri=row["uri"],
        ra=row["ra"],
        dec=row["dec"],
        rank=row["rank"],
        score=row["score"],
        caption=f"{row['split'] or 'no split'} · {what}",
        name=row["known_lens_name"] or numerals.position(row["ra"], row["dec"]),
        tooltip=(
            f"{numerals.position(row['ra'], row['dec'])} | {known} | {row['split'] or 'no split'}, {what} | "
            f"score {row['score']:.6f}" + (f" | ls_id {row['ls_id']}" if row["ls_id"] is not None else "")
        ),
        badge=badge,
    )
