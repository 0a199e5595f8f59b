"""A cross-validation laid out for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from analysis.evaluation.tables import grid as empty_table
from analysis.evaluation.tables import number, rate, times

Row = Mapping[str, Any]


def show(name: str, rows: Mapping[str, Sequence[Row]], console: Console) -> None:
    """Print each fold at the loosest operating point, then every quantity over the folds."""
    folds = rows["cross_validation_folds"]
    loosest = max((row["fpr_target"] for row in folds), default=0.0)
    n_read = sum(row["n_test_accesses"] for row in folds if row["fpr_target"] == loosest)
    read = f"folds held out read {times(n_read)} in all"
    grid = empty_table(f"{name}: folds at FPR {loosest:g} on val; {read}")
    for title in (
        "fold",
        "train",
        "test",
        "positives",
        "left out by guard",
        "in locked sky",
        "AUC",
        "FPR",
        "recall, A",
    ):
        grid.add_column(title, justify="right")
    for row in sorted(folds, key=lambda row: int(row["fold"])):
        if row["fpr_target"] != loosest:
            continue
        grid.add_row(
            str(row["fold"]),
            *(f"{row[key]:,}" for key in ("n_train", "n_test", "n_positives", "n_guard_drops", "n_test_sky_drops")),
            number({"value": row["auc"], "lo": row["auc_lo"], "hi": row["auc_hi"]}),
            rate(row["n_false_positives"], row["n_negatives"], row["fpr"], row["fpr_lo"], row["fpr_hi"]),
            rate(row["n_recovered_tier_a"], row["n_tier_a"],
                 *(row[f"recall_tier_a{end}"] for end in ("", "_lo", "_hi"))),
        )  # fmt: skip
    console.print(grid)
    grid = empty_table(f"over folds (pooled: 95 % Wilson); {read}")
    for title in ("quantity", "FPR", "folds", "mean", "sd over folds", "sd of counting alone", "range", "pooled"):
        grid.add_column(title, justify="left" if title == "quantity" else "right")
    for row in rows["cross_validation"]:
        has_range = row["lowest"] is not None
        grid.add_row(
            row["quantity"],
            "" if row["fpr_target"] is None else f"{row['fpr_target']:g}",
            f"{row['n_folds_counted']}/{row['n_folds']}",
            _number(row["mean"]),
            _number(row["sd_over_folds"]),
            _number(row["sd_binomial"]),
            f"{row['lowest']:.3f}-{row['highest']:.3f}" if has_range else "",
            "" if row["k"] is None else rate(row["k"], row["n"], row["pooled"], row["pooled_lo"], row["pooled_hi"]),
        )
    console.print(grid)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
