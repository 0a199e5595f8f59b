"""What the demo prints at its end: rows of every stage, the model's report, and the lines to take away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlalchemy import Engine, Select, column, literal_column, select, table

from analysis.evaluation.tables import grid as empty_table
from analysis.evaluation.tables import number, rate
from analysis.report import Report, read_report, show


@dataclass(frozen=True)
class Shown:
    """Names of the model and its control, and the folder of the mock sky."""

    model: str
    control: str
    sky: Path


def show_results(engine: Engine, shown: Shown, console: Console) -> None:
    """Print the rows of every stage and the results of the model, all from the public views."""
    with engine.connect() as connection:
        source = table("stage_counts", column("position"), column("stage"), schema="results")
        ordered: Select[Any] = select(literal_column("*")).select_from(source)
        rows = connection.execute(ordered.order_by(source.c.position, source.c.stage)).mappings()
        counts = [dict(row) for row in rows]
    report = read_report(engine, shown.model)
    control = read_report(engine, shown.control)
    grid = empty_table("rows of every stage")
    for name in ("stage", "survey", "rows"):
        grid.add_column(name, justify="right" if name == "rows" else "left")
    for row in counts:
        grid.add_row(row["stage"], row["survey"] or "", f"{row['n']:,}")
    console.print()
    console.print(grid)
    show(report, console)
    for line in headline(counts, report, control):
        console.print(line, highlight=False)
    console.print(
        "[bold]Mock sky:[/] a stand-in survey; no number here says anything about DR10. Its arcs, declared in"
    )
    console.print("etl/mock/arcs.yaml before any training (10 / 50 / 90 % of what was drawn):", highlight=False)
    for line in declared_arcs(shown.sky):
        console.print(f"  {line}", highlight=False)
    console.print(
        "Open the dashboard with [bold]make dashboard[/] (or `.venv/bin/stronglens dashboard`).", highlight=False
    )


def headline(counts: Sequence[dict[str, Any]], report: Report, control: Report) -> list[str]:
    """Return the lines that a newcomer should take away, each with its numbers from the views."""
    n = {(row["stage"], row["survey"]): row["n"] for row in counts}
    tiers = {tier: n[f"positives, tier {tier}", None] for tier in "AB"}
    mock = {tier: n.get((f"positives matched, tier {tier}", "mock"), 0) for tier in "AB"}
    auc, shuffled = (
        next(row for row in part.rows["model_metrics"] if (row["split"], row["metric"]) == ("test", "auc"))
        for part in (report, control)
    )
    point = max(
        (row for row in report.rows["threshold_table"] if row["split"] == "test"), key=lambda row: row["fpr_target"]
    )
    recall = rate(
        point["n_recovered_tier_a"],
        point["n_tier_a"],
        point["recall_tier_a"],
        point["recall_tier_a_lo"],
        point["recall_tier_a_hi"],
    )
    lines = {
        "catalog": f"{n['catalog rows', None]:,} rows; {sum(tiers.values()):,} positives = "
        f"{tiers['A']:,} A + {tiers['B']:,} B",
        "footprint": f"{n.get(('drawn, positive', 'mock'), 0):,} positives lie in the mock sky; matched to a source "
        f"of it: {mock['A']:,} A + {mock['B']:,} B",
        "test AUC": f"{number(auc)}; with shuffled labels {number(shuffled)}, expected 0.5 (95 % intervals)",
        "recall": f"tier A, test, at FPR {point['fpr_target']:g} (threshold {point['threshold']:.3f} chosen on val): "
        f"{recall}, 95 % {point['interval_method']}",
        "test split": f"read {auc['n_test_accesses']} time(s) for this model",
    }
    return [f"{name:<11} {text}" for name, text in lines.items()]


def declared_arcs(folder: Path) -> list[str]:
    """Return what the sky's arcs were drawn from: 10, 50 and 90 % of each tier, from the sky's own manifest."""
    arcs = json.loads((folder / "SKY.json").read_text(encoding="utf-8"))["summary"]["arcs"]
    names = {"theta_e_arcsec": "theta_E (arcsec)", "lensed_mag_r": "lensed r mag", "arc_sn_r": "arc S/N (r)"}
    return [
        f"tier {tier}: "
        + "; ".join(f"{label} " + " / ".join(f"{value:.2f}" for value in values[key]) for key, label in names.items())
        for tier, values in arcs.items()
    ]
