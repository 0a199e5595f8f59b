"""How reliable raw and calibrated scores are, laid out for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from analysis.calibration import MEASURES, RAW
from analysis.evaluation.tables import Row, grid, rate, readings
from training.calibrators import CALIBRATORS

METHODS = (RAW, *CALIBRATORS)
SHOWN = (RAW, "platt")
BINNINGS: Mapping[str, str] = {"equal_mass": "equal mass", "top_1_percent": "top 1 %"}
TITLES = ("ECE", "ECE, top 1 %", "Brier", "Brier skill", "log loss")


def is_of_calibration(metric: str) -> bool:
    """Tell whether a metric is in the table of calibration."""
    measure, _, method = metric.rpartition("_")
    return measure in MEASURES and method in METHODS


def calibration_table(rows: Iterable[Row]) -> Table | None:
    """Lay the metrics of calibration out by split and method; None where there are none."""
    values = {(row["split"], row["metric"]): row for row in rows if is_of_calibration(row["metric"])}
    table = grid(
        "reliability at the draw's prevalence, on cells that no fit saw (val: its other half)"
        f"{readings(values.values())}",
        *("split", "score", "positives", "negatives", *TITLES),
    )
    for split in sorted({split for split, _ in values}, reverse=True):
        for method in METHODS:
            found = [values.get((split, f"{measure}_{method}")) for measure in MEASURES]
            known = next((row for row in found if row is not None), None)
            if known is not None:
                counts = (f"{known['n_positives']:,}", f"{known['n_negatives']:,}")
                table.add_row(split, method, *counts, *(map(_value, found)))
    return table if values else None


def reliability_table(rows: Sequence[Row], split: str) -> Table | None:
    """Lay predictions beside what came true, bin by bin, raw and after Platt scaling; None where there are none."""
    here = [row for row in rows if row["split"] == split and row["method"] in SHOWN and row["binning"] in BINNINGS]
    bins: dict[tuple[str, int], dict[str, Row]] = {}
    for row in sorted(here, key=lambda row: (list(BINNINGS).index(row["binning"]), row["bin"])):
        bins.setdefault((row["binning"], row["bin"]), {})[row["method"]] = row
    table = grid(
        f"reliability by bin, {split} split: mean probability p, share of positives (95 %: Wilson){readings(here)}",
        *("bins", "number", *(f"{title}{method}" for method in SHOWN for title in ("p, ", "k/n, "))),
    )
    previous = ""
    for (binning, number), methods in bins.items():
        cells = (cell for method in SHOWN for cell in _bin(methods.get(method)))
        table.add_row("" if binning == previous else BINNINGS[binning], str(number), *cells)
        previous = binning
    return table if here else None


def _bin(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    return f"{row['mean_p']:.4g}", rate(row["k"], row["n"], row["rate"], row["rate_lo"], row["rate_hi"])


def _value(row: Row | None) -> str:
    if row is None:
        return ""
    return "\N{EN DASH}" if row["value"] is None else f"{row['value']:.4g}"
