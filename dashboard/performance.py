"""Performance: every number of one model on one split - areas, reliability, and rates by observing condition."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import html_table, numerals, queries
from dashboard.filters import choose_operating_point
from dashboard.frame import Frame, chosen_model
from dashboard.html_table import Column
from dashboard.queries import Rows
from db.models import Split

METHODS = {"raw": "score as it is", "temperature": "temperature", "platt": "Platt scaling", "isotonic": "isotonic"}
SAMPLES = {
    "tier_a": "recall, tier A",
    "tier_b": "recall, tier B",
    "tier_ab": "recall, A and B",
    "tier_ab_graded": "recall, A and graded B",
    "held_out": "recall, held-out discoveries",
    "not_ground_imaging": "recall, spectroscopic and HST",
    "negatives": "false positives, all",
    "N1": "false positives, N1",
    "N2": "false positives, N2",
}
METRICS = (
    Column("Metric", lambda row: row["metric"].replace("_", " ")),
    Column("Value [95 %]", lambda row: numerals.small(row["value"], row["lo"], row["hi"]), is_number=True),
    Column("Pos. / neg.", lambda row: numerals.of(row["n_positives"], row["n_negatives"]), is_number=True),
)
CONDITIONS = (
    Column("Bin", lambda row: row["bin"]),
    Column("k / n", lambda row: numerals.of(row["k"], row["n"]), is_number=True),
    Column("Rate [Wilson]", lambda row: numerals.small(row["rate"], row["rate_lo"], row["rate_hi"]), is_number=True),
    Column(
        "Bootstrap",
        lambda row: numerals.interval(row["boot_lo"], row["boot_hi"], 4) or numerals.NONE,
        is_number=True,
        help="By sky cell, 95 %",
    ),
    Column("Cells", lambda row: numerals.count(row["n_cells"]), is_number=True),
    Column(
        "p, Holm",
        lambda row: numerals.NONE if row["p_holm"] is None else f"{row['p_holm']:.3g}",
        is_number=True,
        help="Fisher's exact test of the bin against the rest of its axis, after Holm's correction over all bins",
    ),
)
MODELS = (
    Column("Model", lambda row: row["model_name"] + (" (control)" if row["is_label_shuffled"] else "")),
    Column("Network", lambda row: row["architecture"] if row["kind"] == "network" else ", ".join(row["members"])),
    Column("Parameters", lambda row: numerals.count(row["n_parameters"]), is_number=True),
    Column("Trained on", lambda row: numerals.count(row["n_train"]), is_number=True),
    Column("Best val AUC", lambda row: numerals.fraction(row["best_val_auc"]), is_number=True),
    Column("Test reads", lambda row: str(row["n_test_accesses"]), is_number=True),
    Column("Status", lambda row: row["status"]),
)


def show(frame: Frame) -> None:
    """Show the page."""
    model = chosen_model(frame)
    if model is not None:
        metrics = [row for row in queries.model_metrics(frame.engine) if row["model_id"] == model.model_id]
        split = _choose_split(metrics)
        left, right = st.columns([0.42, 0.58], gap="large")
        with left:
            st.markdown(f"### Numbers on {split}")
            html_table.show([row for row in metrics if row["split"] == split], METRICS)
        with right:
            _show_reliability(queries.reliability(frame.engine, model.model_id, split))
        if not model.is_label_shuffled:
            _show_conditions(frame, model.model_id, split)
    st.markdown("### Models")
    html_table.show(queries.all_models(frame.engine), MODELS)


def _choose_split(metrics: Rows) -> str:
    """Only splits that were evaluated: the test split is there once `stronglens evaluate --test` opened it."""
    there = [split for split in (Split.VAL, Split.TEST) if any(row["split"] == split for row in metrics)]
    options = [str(split) for split in there]
    chosen = st.segmented_control("Split", options, default=options[0], required=True, key="split", bind="query-params")
    if Split.TEST not in there:
        st.caption("The test split of this model is locked: `stronglens evaluate MODEL --test REASON` reads it.")
    return str(chosen or options[0])


def _show_reliability(rows: Rows) -> None:
    st.markdown("### Reliability")
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    if not methods:
        st.caption("No reliability has been computed: run `stronglens evaluate MODEL`.")
        return
    method = st.segmented_control(
        "Probability", methods, default=methods[0], required=True, format_func=METHODS.__getitem__, key="calibration",
        bind="query-params",
    )  # fmt: skip
    chosen = [row for row in rows if row["method"] == method and row["binning"] == "equal_mass"]
    frame = pd.DataFrame(chosen)[["mean_p", "rate", "rate_lo", "rate_hi", "k", "n"]].astype(float)
    axis = alt.Scale(type="symlog", constant=0.001, domain=[0, 1])
    x = alt.X("mean_p", title="mean predicted probability", scale=axis)
    points = alt.Chart(frame).mark_point(filled=True, size=45).encode(
        x, alt.Y("rate", title="share of lenses", scale=axis), tooltip=["mean_p", "rate", "k", "n"]
    )  # fmt: skip
    bars = alt.Chart(frame).mark_rule().encode(x, y="rate_lo", y2="rate_hi")
    line = alt.Chart(pd.DataFrame({"p": [0.0, 1.0]})).mark_line(strokeDash=[4, 3], color="grey").encode(x="p", y="p")
    st.altair_chart((line + bars + points).properties(height=330), width="stretch")
    st.caption(
        "Bins of equal mass, Wilson 95 %, on objects that no calibration was fitted on. The share of lenses is that of "
        "the draw, about 1 in 100, not of the sky."
    )


def _show_conditions(frame: Frame, model_id: int, split: str) -> None:
    thresholds = [row for row in queries.threshold_table(frame.engine, model_id) if row["split"] == split]
    if not thresholds:
        return
    st.markdown("### Rates by condition")
    line = st.container(horizontal=True)
    with line:
        fpr_target = choose_operating_point(thresholds)
        rows = queries.recall_by_condition(frame.engine, model_id, split, fpr_target)
        samples = [sample for sample in SAMPLES if any(row["sample"] == sample for row in rows)]
        sample = st.selectbox(
            "Rate", samples, format_func=SAMPLES.__getitem__, key="sample", bind="query-params", width=260
        )
        axes = list(dict.fromkeys(row["axis"] for row in rows if row["sample"] == sample))
        axis = st.selectbox("Condition", axes, key="axis", bind="query-params", width=200)
    html_table.show(
        [row for row in rows if row["sample"] == sample and row["axis"] == axis],
        CONDITIONS,
        caption="No rate where n < 10. Spectroscopic and HST discoveries are mostly invisible from the ground.",
    )
