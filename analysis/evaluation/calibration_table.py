"""How reliable raw and calibrated scores are, laid out for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from analysis.calibration import MEASURES, RAW
from analysis.evaluation.tables import Row, grid
from training.calibrators import CALIBRATORS

METHODS = (RAW, *CALIBRATORS)
TITLES = ("ECE", "ECE, top 1 %", "Brier", "Brier skill", "log loss")


def is_of_calibration(metric: str) -> bool:
    """Tell whether a metric is in the table of calibration."""
    measure, _, method = metric.rpartition("_")
    return measure in MEASURES and method in METHODS


def calibration_table(rows: Iterable[Row]) -> Table | None:
    """Lay the metrics of calibration out by split and method; None where there are none."""
    values = {(row["split"], row["metric"]): row for row in rows if is_of_calibration(row["metric"])}
    table = grid(
        "reliability at the draw's prevalence, on cells that no calibration was fitted on (val: its other half)",
        *("split", "score", "positives", "negatives", *TITLES),
    )
    for split in sorted({split for split, _ in values}, reverse=True):
        for method in METHODS:
            found = [values.get((split, f"{measure}_{method}")) for measure in MEASURES]
            known = next((row for row in found if row is not None), None)
            if known is not None:
                counts = (f"{known['n_positives']:,}", f"{known['n_negatives']:,}")
                table.add_row(split, method, *counts, *("" if row is None else f"{row['value']:.4g}" for row in found))
    return table if values else None
