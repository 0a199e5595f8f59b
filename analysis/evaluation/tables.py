"""Tables of an evaluation for a terminal, from rows of the public views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from analysis.auc import NUMBERS
from analysis.evaluation.axes import EDGES, POOLED, UNKNOWN, WORDS

Row = Mapping[str, Any]

RATES = ("tier_a", "tier_b", "tier_ab", "tier_ab_graded", "held_out", "held_out_all", "not_ground_imaging")
AXES = (*EDGES, *WORDS, "domain")
WORDY = frozenset({"split", "metric", "positives of", "sample", "axis", "bin", "pool", "kind", "exposures in z"})


def grid(title: str, *columns: str) -> Table:
    """Return an empty table whose numbers stand to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(name, justify="left" if name in WORDY else "right")
    return made


def readings(rows: Iterable[Row]) -> str:
    """Say behind a title how often the test split was read, where rows of it are shown."""
    n = max((row["n_test_accesses"] for row in rows if row["split"] == "test"), default=None)
    return "" if n is None else f"; test read {times(n)}"


def times(n: int) -> str:
    """Write how often."""
    return "once" if n == 1 else f"{n:,} times"


def rate(k: int, n: int, value: float | None, lo: float | None, hi: float | None) -> str:
    """Write k of n with its rate and interval; no rate where the view gives none."""
    if value is None or lo is None or hi is None:
        return f"{k}/{n}"
    return f"{k}/{n} = {value:.3f} ({lo:.3f}-{hi:.3f})"


def ends(lo: float | None, hi: float | None) -> str:
    """Write an interval; nothing where there is none."""
    return "" if lo is None or hi is None else f"{lo:.3f}-{hi:.3f}"


def number(row: Row) -> str:
    """Write a metric with its interval, if it has one; a dash where the view gives none."""
    if row["value"] is None:
        return "\N{EN DASH}"
    digits = 5 if row["value"] < 0.01 else 3
    if row["lo"] is None:
        return f"{row['value']:.{digits}f}"
    return f"{row['value']:.{digits}f} ({row['lo']:.{digits}f}-{row['hi']:.{digits}f})"


def area_table(own: Sequence[Row], controls: Sequence[Row]) -> Table:
    """Areas under the ROC curve by split and sample of positives, the shuffled controls' AUC beneath."""
    table = grid(
        "areas under the ROC curve, whole and standardised over FPR <= 1e-2; TPR0: recall above every negative",
        *("split", "positives of", "AUC", "FPR <= 1e-2", "TPR0", "pos. / neg.", "test readings"),
    )
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in own:
        part = _parts(row["metric"])
        if part is not None:
            found.setdefault((row["split"], part[1]), {})[part[0]] = row
    for row in controls:
        if row["metric"] == "auc":
            found[row["split"], f" {row['model_name']}, labels shuffled"] = {"auc": row}
    for (split, sample), numbers in found.items():
        row = numbers["auc"]
        table.add_row(
            split,
            sample.replace("_", " ").strip() or "all tiers",
            *(number(numbers[name]) if name in numbers else "" for name in ("auc", "partial_auc", "tpr0")),
            f"{row['n_positives']:,} / {row['n_negatives']:,}",
            str(row["n_test_accesses"]) if split == "test" else "",
        )
    return table


def _parts(metric: str) -> tuple[str, str] | None:
    """Split a metric's name into the number and the sample behind it; None for a metric of another kind."""
    for name in sorted(NUMBERS, key=len, reverse=True):
        if metric == name or metric.startswith(f"{name}_"):
            return name, metric.removeprefix(name)
    return None


def other_metrics_table(rows: Iterable[Row]) -> Table | None:
    """Metrics that are no areas, as those of calibration; None where there are none."""
    others = [row for row in rows if _parts(row["metric"]) is None]
    splits = sorted({row["split"] for row in others}, reverse=True)
    table = grid(f"other metrics{readings(others)}", "metric", *splits)
    written = {(row["metric"], row["split"]): number(row) for row in others}
    for metric in dict.fromkeys(row["metric"] for row in others):
        table.add_row(metric.replace("_", " "), *(written.get((metric, split), "") for split in splits))
    return table if others else None


def threshold_table(rows: Sequence[Row]) -> Table:
    """Operating points, what chose them and what passes them."""
    table = grid(
        f"thresholds, chosen on val; needed: negatives that let 10 pass at the target{readings(rows)}",
        *("split", "target FPR", "threshold", "val negatives above", "needed", "FPR (95 %: Wilson)", "bootstrap"),
    )
    for row in sorted(rows, key=lambda r: (r["split"] or "", -r["fpr_target"])):
        table.add_row(
            row["split"],
            f"{row['fpr_target']:g}",
            f"{row['threshold']:.4f}",
            f"{row['n_exceedances']}/{row['n_negatives_chosen_on']}"
            + (" (few)" if row["is_threshold_uncertain"] else ""),
            f"{row['n_negatives_needed']:,}",
            rate(row["n_false_positives"], row["n_negatives"], row["fpr"], row["fpr_lo"], row["fpr_hi"]),
            ends(row["fpr_boot_lo"], row["fpr_boot_hi"]),
        )
    return table


def recall_table(conditions: Iterable[Row]) -> Table:
    """Recall of each sample at each operating point, on each split."""
    pooled = [row for row in conditions if row["axis"] == POOLED and row["sample"] in RATES and row["n"]]
    table = grid(
        f"recall{readings(pooled)}",
        *("split", "target FPR", "sample", "recall (95 %: Wilson)", "bootstrap by sky cell"),
    )
    for row in sorted(pooled, key=lambda r: (r["split"], -r["fpr_target"], RATES.index(r["sample"]))):
        sample = row["sample"].replace("_", " ")
        table.add_row(row["split"], f"{row['fpr_target']:g}", sample, _rate(row), ends(row["boot_lo"], row["boot_hi"]))
    return table


def stratum_table(rows: Sequence[Row], split: str) -> Table:
    """Recall of tier A by stratum at the loosest operating point."""
    loosest = max((row["fpr_target"] for row in rows), default=0.0)
    types = ("SER", "DEV", "REX", "none", None)
    names = {None: "all", "none": "no stratum"}
    table = grid(
        f"recall of tier A by stratum, {split} split, at FPR {loosest:g} on val{_readings(rows, split)}",
        "exposures in z",
        *("all types" if type_ is None else names.get(type_, type_) for type_ in types),
    )
    cells = {
        (row["nobs_z_bin"], row["type"]): rate(row["k"], row["n"], row["recall"], row["recall_lo"], row["recall_hi"])
        for row in rows
        if row["sample"] == "tier_a" and row["split"] == split and row["fpr_target"] == loosest
    }
    for nobs_z_bin in ("1-2", "3-5", "6-10", "11+", "none", None):
        table.add_row(names.get(nobs_z_bin, nobs_z_bin), *(cells.get((nobs_z_bin, type_), "0/0") for type_ in types))
    return table


def condition_table(rows: Sequence[Row], split: str) -> Table:
    """Recall of tier A and the false-positive rate by condition at the loosest operating point."""
    loosest = max((row["fpr_target"] for row in rows), default=0.0)
    here = [row for row in rows if row["split"] == split and row["fpr_target"] == loosest and row["axis"] != POOLED]
    table = grid(
        f"by condition, {split} split, at FPR {loosest:g} on val; p: Fisher against the rest of the axis, after Holm"
        f"{readings(here)}",
        *("axis", "bin", "recall, tier A (Wilson)", "bootstrap", "p", "FPR, all negatives", "p"),
    )
    cells = {(row["axis"], row["bin"], row["sample"]): row for row in here if row["sample"] in {"tier_a", "negatives"}}
    bins = sorted({(row["axis"], row["bin"]): row for row in here}.values(), key=_bin_order)
    previous = ""
    for row in bins:
        recall, fpr = (cells.get((row["axis"], row["bin"], sample)) for sample in ("tier_a", "negatives"))
        if recall is None and fpr is None:
            continue
        table.add_row(
            "" if row["axis"] == previous else row["axis"],
            row["bin"],
            _rate(recall),
            "" if recall is None else ends(recall["boot_lo"], recall["boot_hi"]),
            _p(recall),
            "" if fpr is None else _share(fpr),
            _p(fpr),
        )
        previous = row["axis"]
    return table


def _bin_order(row: Row) -> tuple[int, bool, float, str]:
    lo = row["bin_lo"] if row["bin_lo"] is not None else float("-inf")
    return AXES.index(row["axis"]), row["bin"] == UNKNOWN, lo, row["bin"]


def contaminant_table(rows: Iterable[Row], split: str) -> Table:
    """False positives by pool and kind; kinds that the split does not hold are left out."""
    here = [row for row in rows if row["split"] == split and row["n"]]
    table = grid(
        f"false positives by pool and kind, {split} split{readings(here)}",
        *("target FPR", "pool", "kind", "FPR (95 %: Wilson)"),
    )
    for row in sorted(here, key=lambda r: (-r["fpr_target"], r["pool"], r["category"] or "")):
        share = rate(row["k"], row["n"], row["fpr"], row["fpr_lo"], row["fpr_hi"])
        table.add_row(f"{row['fpr_target']:g}", row["pool"], row["category"] or "all", share)
    return table


def _readings(rows: Iterable[Row], split: str) -> str:
    return readings(row for row in rows if row["split"] == split)


def _rate(row: Row | None) -> str:
    return "" if row is None else rate(row["k"], row["n"], row["rate"], row["rate_lo"], row["rate_hi"])


def _share(row: Row) -> str:
    return f"{row['k']}/{row['n']}" + ("" if row["rate"] is None else f" = {row['rate']:.4f}")


def _p(row: Row | None) -> str:
    return "" if row is None or row["p_holm"] is None else f"{row['p_holm']:.2g}"
