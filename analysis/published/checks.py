"""Each published result, through our functions, tables and views, beside what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, select

from analysis.calibration import CalibrateConfig, calibrate
from analysis.intervals import ensure_intervals
from analysis.published import expected, files
from analysis.published.scratch import Row, Scratch, objects_of
from analysis.reliability import ReliabilityBins, ece
from analysis.scores import ScoredObjects
from db.models import Split
from db.models.calibration import ReliabilityBin
from db.models.evaluation import Interval
from training.ensemble.combine import COMBINATIONS, fit_combination


@dataclass(frozen=True)
class Check:
    """One number, what it must be, and how far it may be from that."""

    section: str
    what: str
    expected: float
    found: float
    tolerance: float = 0.0

    @property
    def is_ok(self) -> bool:
        """Whether it is what was expected."""
        return abs(self.found - self.expected) <= self.tolerance


def confident_lenses(scratch: Scratch, folder: Path) -> Iterator[Check]:
    """Recall of 112 confident lenses at four thresholds, with two kinds of interval."""
    scores = files.read_json(folder, files.CONFIDENT, files.ConfidentLenses).scores
    model_id = scratch.model("confident lenses")
    scratch.count(model_id, _positives(scores, np.full(len(scores), "A")), tuple(expected.CONFIDENT))
    rows = {row["threshold"]: row for row in _pooled(scratch.rows("recall_by_stratum", model_id), "sample", "tier_a")}
    for threshold, rate in expected.CONFIDENT.items():
        what = f"confident lenses above {threshold:g}"
        yield from _rate_checks(scratch, ("recall", what), rows[threshold], ("recall", rate))


def baseline_recall(scratch: Scratch, folder: Path) -> Iterator[Check]:
    """Recall and false positives of the published ResNet-18 at 0.5: its counts, as objects on either side."""
    recall = files.read_json(folder, files.BASELINE, files.Baseline).by_stratum
    confusers = files.read_json(folder, files.CONFUSERS, files.Confusers)
    parts = [
        _either_side(tier.k, tier.n_pos, {"pool": "positive", "label": 1, "tier": name.removeprefix("tier_")})
        for name, tier in recall.items()
    ]
    n1 = confusers.by_pool["N1"]
    parts.append(_either_side(n1.fp, n1.n, {"pool": "N1"}))
    for name, counted in confusers.by_confuser_category.items():
        parts.append(_either_side(counted.fp, counted.n, {"pool": "N2", "category": expected.CONFUSER_NAMES[name]}))
    model_id = scratch.model("ResNet-18")
    scratch.count(model_id, _joined(parts), (confusers.threshold,))
    by_stratum, by_kind = (scratch.rows(view, model_id) for view in ("recall_by_stratum", "fpr_by_contaminant"))
    for sample, rate in expected.BASELINE_RECALL.items():
        (row,) = _pooled(by_stratum, "sample", sample)
        yield from _rate_checks(scratch, ("recall", f"ResNet-18, {sample}, at 0.5"), row, ("recall", rate))
    for (pool, kind), rate in expected.BASELINE_FPR.items():
        (row,) = [row for row in by_kind if (row["pool"], row["category"]) == (pool, kind)]
        what = f"ResNet-18, {pool} {kind or 'all'}, at 0.5"
        yield from _rate_checks(scratch, ("false positives", what), row, ("fpr", rate))


def baseline_reliability(scratch: Scratch, folder: Path) -> Iterator[Check]:
    """Calibration error of the published ResNet-18, from the 15 bins that were printed."""
    curve = files.read_json(folder, files.BASELINE, files.Baseline).reliability_curve
    n = np.array(curve.bin_counts)
    k = np.rint(np.array(curve.bin_acc) * n).astype(np.int64)
    model_id = scratch.model("reliability of ResNet-18")
    of = {"model_id": model_id, "split": Split.TEST, "method": "raw", "binning": "equal_mass"}
    columns = (k.tolist(), n.tolist(), curve.bin_conf, curve.bin_edges[:-1], curve.bin_edges[1:])
    names = ("k", "n", "mean_p", "p_lo", "p_hi")
    bins = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    scratch.connection.execute(insert(ReliabilityBin), [of | {"bin": i} | row for i, row in enumerate(bins)])
    ensure_intervals(scratch.connection, set(zip(k.tolist(), n.tolist(), strict=True)))
    shown = sorted(scratch.rows("reliability", model_id), key=lambda row: row["bin"])
    read = ReliabilityBins(*(np.array([row[name] for row in shown]) for name in ("n", "k", "mean_p", "p_lo", "p_hi")))
    yield Check("calibration", "ResNet-18, ECE of 15 bins", expected.BASELINE_ECE, ece(read), 5e-6)
    yield Check("calibration", "ResNet-18, objects in the bins", 62_760, float(read.n.sum()))
    yield Check("calibration", "ResNet-18, positives in the bins", 688, float(read.k.sum()))


def labelled_scores(scratch: Scratch, folder: Path) -> Iterator[Check]:
    """Three scores and what can be made of them, fitted on val and measured on test of their own split."""
    labelled = files.read_labelled(folder)
    networks = np.stack([labelled.scores[name] for name in files.NETWORKS], axis=1)
    made = dict(labelled.scores)
    is_val = labelled.split == Split.VAL
    for (word, n), method in product((("two", 2), ("three", 3)), COMBINATIONS):
        fitted = fit_combination(method, networks[is_val, :n], labelled.label[is_val])
        made[f"{method} of {word}"] = fitted.apply(networks[:, :n])
    furthest = float(np.abs(made["average of two"] - labelled.mean_of_two).max())
    yield Check("ensembles", "average of two networks, furthest from the file's own", 0.0, furthest, 1e-6)
    for name, scores in made.items():
        model_id = scratch.model(name)
        objects = _labelled_objects(labelled, scores)
        scratch.measure(model_id, objects.where(objects.split == Split.TEST))
        calibrate(scratch.connection, model_id, objects, CalibrateConfig(), scratch.run.run_id)
        rows = [row for row in scratch.rows("model_metrics", model_id) if row["split"] == Split.TEST]
        metrics = {row["metric"]: row["value"] for row in rows}
        for measure, value in zip(expected.LABELLED_MEASURES, expected.LABELLED[name], strict=True):
            yield Check("labelled scores", f"{name}: {measure.replace('_', ' ')}", value, metrics[measure], 6e-6)


def _rate_checks(scratch: Scratch, about: tuple[str, str], row: Row, of: tuple[str, expected.Rate]) -> Iterator[Check]:
    """Counts, rate and Wilson interval of a view's row, and the Jeffreys interval of the same counts."""
    (section, what), (name, rate) = about, of
    digits = 5e-8 if name == "fpr" else 5e-6
    yield Check(section, f"{what}: k", rate.k, row["k"])
    yield Check(section, f"{what}: n", rate.n, row["n"])
    for end, lies in zip(("lo", "hi"), rate.wilson, strict=True):
        yield Check(section, f"{what}: Wilson {end}", lies, row[f"{name}_{end}"], digits)
    counts = (Interval.k == row["k"], Interval.n == row["n"], Interval.method == "jeffreys")
    found = scratch.connection.execute(select(Interval.lo, Interval.hi).where(*counts)).one()
    for end, lies, value in zip(("lo", "hi"), rate.jeffreys, found, strict=True):
        yield Check(section, f"{what}: Jeffreys {end}", lies, value, digits)


def _pooled(rows: list[Row], column: str, value: str) -> list[Row]:
    return [row for row in rows if row[column] == value and row["nobs_z_bin"] is None and row["type"] is None]


def _positives(scores: npt.NDArray[np.float64], tier: npt.NDArray[np.str_]) -> ScoredObjects:
    n = len(scores)
    words = {"pool": np.full(n, "positive"), "discovery": np.full(n, "ground_imaging"), "tier": tier}
    return objects_of(score=scores, label=np.ones(n, np.int64), **words)


def _either_side(k: int, n: int, words: Mapping[str, object]) -> ScoredObjects:
    """Objects of which only the number above the threshold was published: scores of 1 and of 0."""
    held = {name: np.full(n, value) for name, value in ({"label": 0} | dict(words)).items()}
    return objects_of(score=(np.arange(n) < k).astype(float), discovery=np.full(n, "ground_imaging"), **held)


def _joined(parts: list[ScoredObjects]) -> ScoredObjects:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    n = len(columns["score"])
    return ScoredObjects(**columns | {"cutout_id": np.arange(n), "healpix_128": np.arange(n)})


def _labelled_objects(labelled: files.LabelledScores, scores: npt.NDArray[np.float64]) -> ScoredObjects:
    is_positive = labelled.label == 1
    return objects_of(
        score=scores,
        label=labelled.label,
        pool=np.where(is_positive, "positive", "N1"),
        discovery=np.where(is_positive, "ground_imaging", ""),
        tier=np.where(is_positive, "A", ""),
        split=labelled.split,
        is_calibration=labelled.split == "val",
    )
