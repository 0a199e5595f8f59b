"""Overview: what the database holds, how well the chosen model does, and what could fool it."""

from __future__ import annotations

from html import escape

import streamlit as st

from dashboard import html_table, numerals, queries
from dashboard.frame import Frame, chosen_model
from dashboard.html_table import Column
from dashboard.queries import ModelChoice, Rows

STAGES = (
    Column("Stage", lambda row: row["stage"]),
    Column("Survey", lambda row: row["survey"] or ""),
    Column("Rows", lambda row: numerals.count(row["n"]), is_number=True),
)
METRICS = {"auc": "AUC", "auc_tier_a": "AUC, tier A"}
MODELS = (
    Column("Model", lambda row: row["model_name"] + (" (control)" if row["is_label_shuffled"] else "")),
    Column("Metric", lambda row: METRICS[row["metric"]]),
    Column("Split", lambda row: row["split"]),
    Column(
        "Value [95 %]",
        lambda row: numerals.fraction(row["value"], row["lo"], row["hi"]),
        is_number=True,
        help="Interval by bootstrap over sky cells",
    ),
    Column("Pos. / neg.", lambda row: numerals.of(row["n_positives"], row["n_negatives"]), is_number=True),
    Column("Test reads", lambda row: str(row["n_test_accesses"]), is_number=True),
)
THRESHOLDS = (
    Column("FPR target", lambda row: numerals.target(row["fpr_target"]), is_number=True),
    Column("Threshold", lambda row: f"{row['threshold']:.4f}", is_number=True),
    Column(
        "Exceed.",
        lambda row: str(row["n_exceedances"]) + (" (few)" if row["is_threshold_uncertain"] else ""),
        is_number=True,
        help="Validation negatives at or above the threshold; fewer than 10 leave it uncertain",
    ),
    Column("Split", lambda row: row["split"] or numerals.NONE),
    Column("FPR [95 %]", lambda row: numerals.small(row["fpr"], row["fpr_lo"], row["fpr_hi"]), is_number=True),
    Column("A: k / n", lambda row: numerals.of(row["n_recovered_tier_a"], row["n_tier_a"]), is_number=True),
    Column(
        "Recall A [95 %]",
        lambda row: numerals.fraction(row["recall_tier_a"], row["recall_tier_a_lo"], row["recall_tier_a_hi"]),
        is_number=True,
    ),
    Column("B: k / n", lambda row: numerals.of(row["n_recovered_tier_b"], row["n_tier_b"]), is_number=True),
    Column("Recall B", lambda row: numerals.fraction(row["recall_tier_b"]), is_number=True),
)
STRATA = (
    Column("nobs_z", lambda row: row["nobs_z_bin"] or "all"),
    Column("Type", lambda row: row["type"] or "all"),
    Column("k / n", lambda row: numerals.of(row["k"], row["n"]), is_number=True),
    Column(
        "Recall [95 %]",
        lambda row: numerals.fraction(row["recall"], row["recall_lo"], row["recall_hi"]),
        is_number=True,
    ),
)
AUDIT = (
    Column("Feature", lambda row: row["feature"].replace("_", " ")),
    Column("Kind", lambda row: row["kind"]),
    Column("AUC raw", lambda row: numerals.fraction(row["auc_raw"]), is_number=True),
    Column(
        "AUC judged [95 %]",
        lambda row: numerals.fraction(row[f"auc_{row['judged_by']}"], row["auc_lo"], row["auc_hi"]),
        is_number=True,
        help="After matching on r magnitude, type, PSF and depth (noise: also after regression on them; raw where too "
        "few could be matched); interval by bootstrap over sky cells",
    ),
    Column(
        "Verdict",
        lambda row: row["verdict"] + (", expected" if row["is_expected_physics"] and row["verdict"] != "green" else ""),
        mark=lambda row: f"sl-{row['verdict']}" if row["is_fault"] or row["verdict"] != "red" else "sl-yellow",
    ),
)


def show(frame: Frame) -> None:
    """Show the page."""
    stages = queries.stage_counts(frame.engine)
    if not any(row["n"] for row in stages):
        st.info("The database is empty: run `stronglens demo`, or start with `stronglens catalog load`.")
        return
    left, right = st.columns([0.3, 0.7], gap="large")
    with left:
        st.markdown("### Rows of every stage")
        html_table.show(stages, STAGES)
    with right:
        model = chosen_model(frame)
        if model is not None:
            _show_model(frame, model)
    _show_audit(queries.shortcut_audit(frame.engine))


def _show_model(frame: Frame, model: ModelChoice) -> None:
    metrics = queries.model_metrics(frame.engine)
    thresholds = queries.threshold_table(frame.engine, model.model_id)
    _show_cards(metrics, thresholds, queries.n_leaks(frame.engine), model)
    st.markdown("### Models")
    areas = [row for row in metrics if row["metric"] in METRICS]
    html_table.show(areas, MODELS, caption="A control is trained on shuffled labels; its AUC must be near 0.5.")
    st.markdown(f"### Operating points of {model.name}")
    html_table.show(
        thresholds,
        THRESHOLDS,
        caption="Thresholds are chosen on validation negatives. Recall of the lens candidates discovered in "
        "ground-based imaging: A confident, B probable. Wilson intervals; no rate where n < 10.",
    )
    _show_strata(frame, model, thresholds)


def _show_cards(metrics: Rows, thresholds: Rows, n_leaks: int, model: ModelChoice) -> None:
    tests = [row for row in metrics if row["split"] == "test" and row["metric"] == "auc"]
    own = next((row for row in tests if row["model_id"] == model.model_id), None)
    control = next((row for row in tests if row["is_label_shuffled"] and row["survey"] == model.survey), None)
    loosest = next((row for row in thresholds if row["split"] == "test"), None)
    cards = [
        _card("Test AUC", own["value"], own["lo"], own["hi"]) if own else _card("Test AUC", None),
        _card("AUC, shuffled labels", control["value"], control["lo"], control["hi"])
        if control
        else _card("AUC, shuffled labels", None),
    ]
    if loosest:
        value, lo, hi = (loosest[f"recall_tier_a{end}"] for end in ("", "_lo", "_hi"))
        share = numerals.of(loosest["n_recovered_tier_a"], loosest["n_tier_a"])
        cards.append(_card(f"Tier-A recall, FPR {numerals.target(loosest['fpr_target'])}", value, lo, hi, share))
    leaks = numerals.count(n_leaks)
    cards.append(
        _text_card("Split leaks", leaks, "results.split_leakage" if n_leaks else "as it must be", is_bad=n_leaks > 0)
    )
    n_reads = own["n_test_accesses"] if own else 0
    cards.append(_text_card("Readings of the test split", numerals.count(n_reads), "of this model"))
    st.html(f'<div class="sl-cards">{"".join(cards)}</div>')


def _card(title: str, value: float | None, lo: float | None = None, hi: float | None = None, detail: str = "") -> str:
    below = " ".join(part for part in (detail, numerals.interval(lo, hi)) if part)
    return _text_card(title, numerals.fraction(value), below or "not measured")


def _text_card(title: str, value: str, detail: str, *, is_bad: bool = False) -> str:
    mark = " sl-card-bad" if is_bad else ""
    return (
        f'<div class="sl-card{mark}"><div class="sl-card-title">{escape(title)}</div>'
        f'<div class="sl-card-value">{escape(value)}</div><div class="sl-card-detail">{escape(detail)}</div></div>'
    )


def _show_strata(frame: Frame, model: ModelChoice, thresholds: Rows) -> None:
    loosest = thresholds[0]["fpr_target"] if thresholds else None
    if loosest is None:
        return
    rows = queries.recall_by_stratum(frame.engine, model.model_id, loosest)
    st.markdown(f"### Recall of tier A by stratum, test split, FPR {numerals.target(loosest)}")
    margins, cells = st.columns(2, gap="medium")
    with margins:
        html_table.show([row for row in rows if row["is_pooled"]], STRATA, caption="Pooled margins.")
    with cells:
        html_table.show(
            [row for row in rows if not row["is_pooled"]], STRATA, caption="Strata; none: no SER, DEV or REX match."
        )


def _show_audit(rows: Rows) -> None:
    if not rows:
        return
    st.markdown("### Shortcut audit")
    for draw in dict.fromkeys(row["draw_name"] for row in rows):
        ours = [row for row in rows if row["draw_name"] == draw]
        half = -(-len(ours) // 2)
        for place, part in zip(st.columns(2, gap="large"), (ours[:half], ours[half:]), strict=True):
            with place:
                html_table.show(part, AUDIT)
        n_faults = sum(row["is_fault"] for row in ours)
        st.caption(
            f"Draw {draw}: how well one feature alone tells candidates from negatives (AUC folded at 0.5). Green: "
            "lower end < 0.60; yellow: to 0.70; red: above. Features that lensing itself changes may be red. "
            f"Faults: {n_faults}."
        )
