"""What the trials of all seeds add up to: how many were found, by what, and how sharp each measure is."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from analysis.intervals import jeffreys
from etl.validation.shortcuts import BORDER_CLASSIFIER, METADATA_CLASSIFIER
from tests.bench.gates.plants import PLANTS
from tests.bench.gates.trial import COMPARED

Trial = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """One row: in how many skies the verdict was NO-GO, with its Jeffreys interval, and what was red or failed."""

    key: str
    what: str
    is_of_the_issue: bool
    k: int
    n: int
    lo: float
    hi: float
    by: dict[str, int]


COMPARED_SKIES = {
    "clean": COMPARED,
    "deeper_0.30": COMPARED[:1],
    "core_10": COMPARED[1:2],
    "border_0.20": COMPARED[2:],
    "deeper_0.30_consistent": (COMPARED[0], METADATA_CLASSIFIER, BORDER_CLASSIFIER),
}


@dataclass(frozen=True)
class Sharpness:
    """Medians over the seeds of one feature's AUC by each measure, on the clean sky or a spoilt one.

    Classifiers have neither a value within pairs nor an adjusted one.
    """

    key: str
    feature: str
    raw: float
    matched: float
    paired: float | None
    adjusted: float | None
    paired_adjusted: float | None


def found(trials: Sequence[Trial]) -> list[Found]:
    """Count, for each plant, the skies that were refused."""
    rows = []
    for plant in PLANTS:
        skies = [trial["skies"][plant.key] for trial in trials]
        k = sum(bool(sky["failed"]) for sky in skies)
        lo, hi = jeffreys(k, len(skies))
        by = Counter(name for sky in skies for name in _reasons(sky))
        rows.append(Found(plant.key, plant.what, plant.is_of_the_issue, k, len(skies), float(lo), float(hi), dict(by)))
    return rows


def false_alarms(trials: Sequence[Trial]) -> dict[str, dict[str, int]]:
    """Count the verdicts of each feature on the clean skies, and how often the core's ratio failed."""
    skies = [trial["skies"]["clean"] for trial in trials]
    names = skies[0]["features"]
    counts = {name: dict(Counter(sky["features"][name]["verdict"] for sky in skies)) for name in names}
    n_failed = sum("core_ratio" in sky["failed"] for sky in skies)
    return counts | {"core_ratio": {"green": len(skies) - n_failed, "red": n_failed}}


def sharpness(trials: Sequence[Trial]) -> list[Sharpness]:
    """Compare the measures on the clean skies and on those in which they matter."""
    rows = []
    for key, features in COMPARED_SKIES.items():
        skies = [trial["skies"][key] for trial in trials]
        for feature in features:
            audits = [sky["features"][feature] for sky in skies]
            rows.append(
                Sharpness(
                    key,
                    feature,
                    raw=statistics.median(audit["raw"] for audit in audits),
                    matched=statistics.median(audit["matched"] for audit in audits),
                    paired=_median([sky["paired"].get(feature) for sky in skies]),
                    adjusted=_median([audit["adjusted"] for audit in audits]),
                    paired_adjusted=_median([sky["paired_adjusted"].get(feature) for sky in skies]),
                )
            )
    return rows


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def core_ratios(trials: Sequence[Trial]) -> dict[str, tuple[float, float, float]]:
    """Smallest, median and largest core ratio over the seeds, of the skies that concern it."""
    made = {}
    for key in ("clean", "core_05", "core_10"):
        values = [float(trial["skies"][key]["core_ratio"]) for trial in trials]
        made[key] = (min(values), statistics.median(values), max(values))
    return made


def as_dict(trials: Sequence[Trial]) -> dict[str, Any]:
    """All tables, for JSON."""
    return {
        "found": [asdict(row) for row in found(trials)],
        "clean_verdicts": false_alarms(trials),
        "sharpness": [asdict(row) for row in sharpness(trials)],
        "core_ratios": core_ratios(trials),
    }


def markdown(trials: Sequence[Trial]) -> Iterator[str]:
    """All tables, as docs/validation.md holds them."""
    n_pairs = [trial["skies"]["clean"]["n_pairs"] for trial in trials]
    yield (
        f"{len(trials)} seeds; in the median {statistics.median(trial['n_positives'] for trial in trials):.0f} "
        f"positives, {statistics.median(trial['n_negatives'] for trial in trials):,.0f} negatives and "
        f"{statistics.median(n_pairs):.0f} matched pairs a sky."
    )
    for title, is_of_the_issue in (("What must be found", True), ("Weaker, or better hidden", False)):
        yield f"\n| {title.lower()} | refused | share | 95 % (Jeffreys) | because of (skies) |\n|---|---:|---:|---|---|"
        for row in found(trials):
            if row.is_of_the_issue is is_of_the_issue:
                yield f"| {row.what} | {row.k} of {row.n} | {row.k / row.n:.2f} | {_interval(row)} | {_because(row)} |"
    yield "\n| clean sky | green | yellow | red |\n|---|---:|---:|---:|"
    for name, count in false_alarms(trials).items():
        yield f"| `{name}` | " + " | ".join(str(count.get(word, 0)) for word in ("green", "yellow", "red")) + " |"
    yield "\n| sky | feature | raw | matched | within pairs | adjusted | adjusted, within pairs |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for sharp in sharpness(trials):
        numbers = (sharp.raw, sharp.matched, sharp.paired, sharp.adjusted, sharp.paired_adjusted)
        written = ["-" if number is None else f"{number:.3f}" for number in numbers]
        yield f"| {sharp.key} | `{sharp.feature}` | {' | '.join(written)} |"
    yield "\n| sky | smallest core ratio | median | largest |\n|---|---:|---:|---:|"
    for key, ratios in core_ratios(trials).items():
        yield f"| {key} | " + " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |"


def _reasons(sky: dict[str, Any]) -> list[str]:
    return [*sky["faults"], *(rule for rule in sky["failed"] if rule != "no_shortcut")]


def _interval(row: Found) -> str:
    return f"{row.lo:.2f} to {row.hi:.2f}"


def _because(row: Found) -> str:
    ordered = sorted(row.by.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"`{name}` {count}" for name, count in ordered) or "-"
