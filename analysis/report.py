"""The published results of a model, read from the views of `results` and laid out for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text
from sqlalchemy import Connection, Engine, Select, column, literal_column, select, table

from analysis.errors import NoScoresError
from analysis.evaluation.calibration_table import calibration_table, is_of_calibration, reliability_table
from analysis.evaluation.tables import (
    area_table,
    condition_table,
    contaminant_table,
    other_metrics_table,
    recall_table,
    stratum_table,
    threshold_table,
)
from training.registry import find_model

VIEWS = (
    "model_metrics",
    "threshold_table",
    "recall_by_stratum",
    "recall_by_condition",
    "fpr_by_contaminant",
    "calibrations",
    "reliability",
    "survey_rates",
    "purity",
)


@dataclass(frozen=True)
class Report:
    """Rows of the public views that speak of one model."""

    model_name: str
    rows: dict[str, list[dict[str, Any]]]


def read_report(engine: Engine, model: str) -> Report:
    """Read everything published about a model.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    NoScoresError
        When it was not evaluated yet.
    """
    found = find_model(engine, model)
    with engine.connect() as connection:
        rows = {view: _rows(connection, view, found.model_id) for view in VIEWS}
        rows["shuffled_controls"] = _shuffled_controls(connection)
    if not rows["model_metrics"]:
        raise NoScoresError(f"model {found.name} was not evaluated: run `stronglens evaluate {found.name}` first")
    return Report(found.name, rows)


def _rows(connection: Connection, view: str, model_id: int) -> list[dict[str, Any]]:
    source = table(view, column("model_id"), schema="results")
    statement: Select[Any] = select(literal_column("*")).select_from(source).where(source.c.model_id == model_id)
    return [dict(row) for row in connection.execute(statement).mappings()]


def _shuffled_controls(connection: Connection) -> list[dict[str, Any]]:
    source = table("model_metrics", column("is_label_shuffled"), schema="results")
    statement: Select[Any] = select(literal_column("*")).select_from(source).where(source.c.is_label_shuffled)
    return [dict(row) for row in connection.execute(statement).mappings()]


def render(report: Report) -> RenderableType:
    """Lay a report out; bins, strata and conditions are those of the test split where it was read, else of val."""
    rows = report.rows
    own = rows["model_metrics"]
    is_control = own[0]["is_label_shuffled"]
    title = Text(f"model {report.model_name}", style="bold")
    areas = area_table(own, [] if is_control else rows["shuffled_controls"])
    split = "test" if any(row["split"] == "test" for row in rows["threshold_table"]) else "val"
    others = (
        calibration_table(own),
        reliability_table(rows["reliability"], split),
        other_metrics_table([row for row in own if not is_of_calibration(row["metric"])]),
    )
    parts: list[RenderableType] = [title, areas, *(table for table in others if table is not None)]
    if not is_control:
        parts += [
            threshold_table(rows["threshold_table"]),
            recall_table(rows["recall_by_condition"]),
            stratum_table(rows["recall_by_stratum"], split),
            condition_table(rows["recall_by_condition"], split),
            contaminant_table(rows["fpr_by_contaminant"], split),
        ]
    return Group(*parts)


def wide_console() -> Console:
    """Return a console that is wide enough for the tables where there is no terminal to fit them to."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 120))


def show(report: Report, console: Console) -> None:
    """Print a report."""
    console.print(render(report))
