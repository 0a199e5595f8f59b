"""The write-up of an experiment in Markdown: every number of it comes from the views."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from analysis.errors import WriteUpError
from analysis.evaluation.tables import rate
from analysis.experiment.config import Expectation, ExperimentConfig
from analysis.experiment.read import Findings, Outcome, area, judged, recall

BANNERS = {
    "mock": "**Mock sky: a stand-in survey. No number here says anything about DR10.**",
    "dr10": "DR10 images. Recall is of published candidates in the test cells, not the completeness of any survey.",
}

FEW = "fewer than 10 positives"


def write_up(config: ExperimentConfig, findings: Findings, command: str) -> str:
    """Return the page; the same results give the same page.

    Parameters
    ----------
    command
        The command that makes it, printed at its end.
    """
    first = findings.outcomes[0]
    parts = [
        f"# Experiment {config.name}",
        BANNERS[first.model["survey"]],
        config.asks.strip(),
        "## Design",
        _design(config, findings),
        f"## Recall of tier A at FPR {config.fpr_target:g}, test split",
        _points(config, findings),
        "## Over seeds",
        _over_seeds(findings),
        "## Controls",
        _controls(config, findings),
        "## Expected beforehand",
        _expectations(config, findings),
        "## Readings of the test split",
        _readings(config, findings),
        "## Made by",
        f"`{command}`, from the views of `results`; models trained by stronglens {', '.join(findings.versions)}.",
    ]
    return "\n\n".join(parts) + "\n"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _design(config: ExperimentConfig, findings: Findings) -> str:
    rows = []
    arms = {arm.name: arm for arm in config.arms}
    for name in findings.arms:
        models = findings.of_arm(name)
        seeds = ", ".join(str(outcome.planned.seed) for outcome in models)
        row = models[0].model
        if name in arms:
            overrides = sorted(arms[name].overrides.items())
            changed = ", ".join(f"{key} {json.dumps(value, sort_keys=True)}" for key, value in overrides) or "as it is"
            made = f"{arms[name].recipe}, {changed}"
        else:
            members = next(ensemble for ensemble in config.ensembles if ensemble.name == name)
            made = f"{members.method} of {' and '.join(members.arms)} of one seed"
        rows.append([name, made, row["architecture"], f"{row['n_parameters']:,}", seeds, f"{row['n_train']:,}"])
    header = ["arm", "recipe", "architecture", "parameters", "seeds", "training cutouts"]
    about = (
        f"Draw `{config.draw}`, split scheme `{config.scheme}`. Epochs and thresholds are chosen on val, ensembles "
        "that are fitted on its calibration part; the test split is only counted. Tier A means published as confident, "
        "not spectroscopically confirmed."
    )
    return about + "\n\n" + table(header, rows)


def _points(config: ExperimentConfig, findings: Findings) -> str:
    header = ["arm", "seed", "recall, 95 % Wilson", "95 % bootstrap by sky cell", "FPR found, 95 % Wilson", "AUC, 95 %"]
    rows = []
    uncertain = set()
    for outcome in findings.outcomes:
        point = outcome.point
        if point is None:
            continue
        if point["is_threshold_uncertain"]:
            uncertain.add(point["n_exceedances"])
        rows.append(
            [
                outcome.planned.arm,
                str(outcome.planned.seed),
                rate(point["n_recovered_tier_a"], point["n_tier_a"], *_with_ends(point, "recall_tier_a")),
                _ends(point["recall_tier_a_boot_lo"], point["recall_tier_a_boot_hi"]),
                rate(point["n_false_positives"], point["n_negatives"], *_with_ends(point, "fpr")),
                _auc(outcome),
            ]
        )
    text = table(header, rows)
    if uncertain:
        text += (
            f"\n\nSome thresholds rest on {min(uncertain)} to {max(uncertain)} negatives of val at or above them; "
            f"fewer than 10 make a threshold itself uncertain. FPR {config.fpr_target:g} needs "
            f"{int(np.ceil(10 / config.fpr_target)):,} negatives of val."
        )
    return text


def _with_ends(row: dict[str, float | None], name: str) -> tuple[float | None, float | None, float | None]:
    return row[name], row[f"{name}_lo"], row[f"{name}_hi"]


def _ends(lo: float | None, hi: float | None) -> str:
    return "none" if lo is None or hi is None else f"{lo:.3f}-{hi:.3f}"


def _auc(outcome: Outcome) -> str:
    row = outcome.auc
    return FEW if row["value"] is None else f"{row['value']:.4f} ({_ends(row['lo'], row['hi'])})"


def _over_seeds(findings: Findings) -> str:
    header = ["arm", "seeds", "mean recall", "sd over seeds", "sd of counting alone", "mean AUC", "sd over seeds"]
    rows = []
    for arm in findings.arms:
        outcomes = findings.of_arm(arm)
        recalls, areas = ([of(outcome) for outcome in outcomes] for of in (recall, area))
        mean = float(np.mean(recalls))
        n = [outcome.point["n_tier_a"] for outcome in outcomes if outcome.point is not None]
        counting = float(np.sqrt(mean * (1 - mean) / np.mean(n)))
        rows.append(
            [arm, str(len(outcomes)), _or_few(mean), _sd(recalls), _or_few(counting),
             _or_few(float(np.mean(areas)), 4), _sd(areas, 4)]
        )  # fmt: skip
    return table(header, rows) + (
        "\n\nSeeds share the test objects: the spread over seeds is that of training, and counting comes on top of it."
    )


def _or_few(value: float, digits: int = 3) -> str:
    return FEW if np.isnan(value) else f"{value:.{digits}f}"


def _sd(values: list[float], digits: int = 3) -> str:
    return f"{np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "one seed"


def _controls(config: ExperimentConfig, findings: Findings) -> str:
    lines = [
        f"- Shuffled labels (`{outcome.planned.model}`): AUC {_auc(outcome)} against the labels dealt; 0.5 where "
        "nothing leaks."
        for outcome in findings.of_arm("shuffled")
    ]
    audit = findings.metadata
    if audit is None:
        lines.append(
            f"- Metadata-only classifier: draw `{config.draw}` was not audited; run `stronglens cutouts validate`."
        )
    else:
        value, raw = judged(audit), audit["auc_raw"]
        lines.append(
            f"- A classifier that sees only metadata (exposures, seeing, depth, dust): AUC {_number(raw)} raw, "
            f"{_number(value)} {audit['judged_by']} (95 % {_ends(audit['auc_lo'], audit['auc_hi'])}), verdict "
            f"{audit['verdict']}; the verdict is of the {audit['judged_by']} value."
        )
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _expectations(config: ExperimentConfig, findings: Findings) -> str:
    if not config.expectations:
        return "Nothing was declared."
    rows = []
    for expected in config.expectations:
        value = findings.value(expected)
        limits = [
            f"{sign} {limit:g}"
            for sign, limit in (("≥", expected.at_least), ("≤", expected.at_most))
            if limit is not None
        ]
        verdict = "pass" if is_met(expected, value) else "FAIL"
        rows.append([expected.says, " and ".join(limits), "none" if value is None else f"{value:.4f}", verdict])
    return table(["expected", "limits", "found", "verdict"], rows)


def is_met(expected: Expectation, value: float | None) -> bool:
    """Say whether a number is what was expected; one that is not there is not."""
    if value is None or np.isnan(value):
        return False
    is_above = expected.at_least is None or value >= expected.at_least
    return is_above and (expected.at_most is None or value <= expected.at_most)


def _readings(config: ExperimentConfig, findings: Findings) -> str:
    counts = [int(outcome.auc["n_test_accesses"]) for outcome in findings.outcomes]
    each = f"{counts[0]} each" if len(set(counts)) == 1 else f"between {min(counts)} and {max(counts)} each"
    return (
        f"{sum(counts)} in all, {each} of the {len(counts)} models (`evaluation.test_access`), with the reason "
        f"`experiment {config.name}`."
    )


def save(page: str, path: Path) -> bool:
    """Write the page, unless it is there as it is; say whether it was written.

    Raises
    ------
    WriteUpError
        When it cannot be written.
    """
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == page:
            return False
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(page, encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        reason = os.strerror(exc.errno or 0)
        raise WriteUpError(f"{path}: cannot be written ({reason}): choose another --out") from exc
    return True
