"""The published results of a model, read from the views of `results` and laid out for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, Engine, Select, column, literal_column, select, table

from analysis.errors import NoScoresError
from training.registry import find_model

Row = Mapping[str, Any]

VIEWS = ("model_metrics", "threshold_table", "recall_by_stratum", "fpr_by_contaminant")


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
    """Lay a report out: AUC, thresholds, recall of tier A by stratum, false positives by kind."""
    return Group(
        Text(f"model {report.model_name}", style="bold"),
        _auc_table(report),
        _threshold_table(report.rows["threshold_table"]),
        _recall_table(report.rows["recall_by_stratum"]),
        _fpr_table(report.rows["fpr_by_contaminant"]),
    )


def wide_console() -> Console:
    """Return a console that is wide enough for the tables where there is no terminal to fit them to."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 120))


def show(report: Report, console: Console) -> None:
    """Print a report."""
    console.print(render(report))


def rate(k: int, n: int, value: float | None, lo: float | None, hi: float | None) -> str:
    """Write k of n with its rate and interval; no rate where the view gives none."""
    if value is None or lo is None or hi is None:
        return f"{k}/{n}"
    return f"{k}/{n} = {value:.3f} ({lo:.3f}-{hi:.3f})"


def _number(row: Row) -> str:
    if row["lo"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['lo']:.3f}-{row['hi']:.3f})"


def _grid(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)


def _auc_table(report: Report) -> Table:
    grid = _grid("AUC (95 %: bootstrap by sky cell)")
    for name in ("split", "metric", "AUC", "positives", "negatives", "readings of the test split"):
        grid.add_column(name, justify="left" if name in {"split", "metric"} else "right")
    controls = [row | {"metric": f"{row['metric']}, labels shuffled"} for row in report.rows["shuffled_controls"]]
    own = report.rows["model_metrics"]
    is_control = bool(own) and own[0]["is_label_shuffled"]
    for row in [*own, *([] if is_control else [row for row in controls if row["metric"].startswith("auc,")])]:
        grid.add_row(
            row["split"], row["metric"], _number(row), f"{row['n_positives']:,}", f"{row['n_negatives']:,}",
            str(row["n_test_accesses"]) if row["split"] == "test" else "",
        )  # fmt: skip
    return grid


def _threshold_table(rows: Iterable[Row]) -> Table:
    grid = _grid("thresholds, chosen on val (95 % Wilson intervals)")
    for name in ("split", "target FPR", "threshold", "val exceedances", "FPR", "recall, tier A", "recall, tier B"):
        grid.add_column(name, justify="left" if name == "split" else "right")
    for row in sorted(rows, key=lambda r: (r["split"] or "", -r["fpr_target"])):
        grid.add_row(
            row["split"],
            f"{row['fpr_target']:g}",
            f"{row['threshold']:.4f}",
            f"{row['n_exceedances']}/{row['n_negatives_chosen_on']}"
            + (" (few)" if row["is_threshold_uncertain"] else ""),
            rate(row["n_false_positives"], row["n_negatives"], row["fpr"], row["fpr_lo"], row["fpr_hi"]),
            _tier_rate(row, "tier_a"),
            _tier_rate(row, "tier_b"),
        )
    return grid


def _tier_rate(row: Row, tier: str) -> str:
    k, n = row[f"n_recovered_{tier}"], row[f"n_{tier}"]
    return "" if n is None else rate(k, n, *(row[f"recall_{tier}{end}"] for end in ("", "_lo", "_hi")))


def _recall_table(rows: list[dict[str, Any]]) -> Table:
    loosest = max((row["fpr_target"] for row in rows), default=0.0)
    grid = _grid(f"recall of tier A by stratum, test split, at FPR {loosest:g} on val")
    types = ("SER", "DEV", "REX", "none", None)
    grid.add_column("exposures in z")
    for type_ in types:
        grid.add_column("all types" if type_ is None else "no stratum" if type_ == "none" else type_, justify="right")
    cells = {
        (row["nobs_z_bin"], row["type"]): rate(row["k"], row["n"], row["recall"], row["recall_lo"], row["recall_hi"])
        for row in rows
        if row["sample"] == "tier_a" and row["split"] == "test" and row["fpr_target"] == loosest
    }
    for nobs_z_bin in ("1-2", "3-5", "6-10", "11+", "none", None):
        label = "all" if nobs_z_bin is None else "no stratum" if nobs_z_bin == "none" else nobs_z_bin
        grid.add_row(label, *(cells.get((nobs_z_bin, type_), "0/0") for type_ in types))
    return grid


def _fpr_table(rows: list[dict[str, Any]]) -> Table:
    grid = _grid("false positives by pool and kind, test split")
    for name in ("target FPR", "pool", "kind", "FPR"):
        grid.add_column(name, justify="right" if name in {"target FPR", "FPR"} else "left")
    test = [row for row in rows if row["split"] == "test"]
    for row in sorted(test, key=lambda r: (-r["fpr_target"], r["pool"], r["category"] or "")):
        grid.add_row(
            f"{row['fpr_target']:g}",
            row["pool"],
            row["category"] or "all",
            rate(row["k"], row["n"], row["fpr"], row["fpr_lo"], row["fpr_hi"]),
        )
    return grid
