"""How models agree, read from `results.model_diversity` and laid out for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from sqlalchemy import Engine, Select, column, literal_column, select, table

from analysis.evaluation.tables import grid as empty_table
from analysis.evaluation.tables import times

Row = dict[str, Any]


def read_agreement(engine: Engine, model_ids: Sequence[int]) -> list[Row]:
    """Read the published rows of every pair of some models."""
    names = ("model_a_id", "model_b_id", "split", "fpr_target", "sample")
    view = table("model_diversity", *map(column, names), schema="results")
    statement: Select[Any] = (
        select(literal_column("*"))
        .select_from(view)
        .where(view.c.model_a_id.in_(model_ids), view.c.model_b_id.in_(model_ids))
        .order_by(view.c.split.desc(), view.c.model_a_id, view.c.model_b_id, view.c.sample.desc())
        .order_by(view.c.fpr_target.desc())
    )
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def render_agreement(rows: Sequence[Row]) -> RenderableType:
    """Lay rows out: recall of each model and of both together, then how their errors go together."""
    return Group(_recall_table(rows), _error_table(rows))


def _recall_table(rows: Sequence[Row]) -> Table:
    grid = empty_table(f"recall at matched false-positive rates (95 % Wilson intervals){_readings(rows)}")
    for name in ("split", "models a, b", "FPR on val", "n", "a", "b", "either (oracle)", "readings of the test split"):
        grid.add_column(name, justify="left" if name in {"split", "models a, b"} else "right")
    for row in rows:
        if row["sample"] == "positives":
            grid.add_row(
                *_which(row),
                f"{row['n']:,}",
                *(_share(row, name) for name in ("share_a_right", "share_b_right", "oracle_recall")),
                f"{row['n_test_accesses_a']}, {row['n_test_accesses_b']}" if row["split"] == "test" else "",
            )
    return grid


def _error_table(rows: Sequence[Row]) -> Table:
    grid = empty_table(f"errors on the same objects (Kuncheva & Whitaker 2003){_readings(rows)}")
    measures = {"phi": "error_correlation", "Q": "q_statistic", "disagreement": "disagreement"}
    measures |= {"double fault": "double_fault", "rank correlation": "score_correlation"}
    names = ("split", "models a, b", "FPR on val", "among", "both right", "only a", "only b", "neither", *measures)
    for name in names:
        grid.add_column(name, justify="left" if name in {"split", "models a, b", "among"} else "right")
    for row in rows:
        counts = (row[f"n_{name}"] for name in ("both_right", "only_a_right", "only_b_right", "both_wrong"))
        grid.add_row(
            *_which(row),
            row["sample"],
            *(f"{n:,}" for n in counts),
            *("" if row[name] is None else f"{row[name]:.3f}" for name in measures.values()),
        )
    return grid


def _readings(rows: Sequence[Row]) -> str:
    """Say behind a title how often the test split was read for each model, where rows of it are shown."""
    n = {row[f"model_{m}_name"]: row[f"n_test_accesses_{m}"] for row in rows if row["split"] == "test" for m in "ab"}
    return "; test read: " + ", ".join(f"{name} {times(count)}" for name, count in n.items()) if n else ""


def _which(row: Row) -> tuple[str, str, str]:
    few = " (few)" if row["is_threshold_uncertain"] else ""
    return row["split"], f"{row['model_a_name']}, {row['model_b_name']}", f"{row['fpr_target']:g}{few}"


def _share(row: Row, name: str) -> str:
    value, lo, hi = (row[f"{name}{end}"] for end in ("", "_lo", "_hi"))
    return "" if value is None else f"{value:.3f} ({lo:.3f}-{hi:.3f})"
