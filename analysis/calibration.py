"""Calibration of a model's scores on its own part of val, and how reliable the probabilities are elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, insert, select

from analysis.bootstrap import METHOD as BOOTSTRAP
from analysis.bootstrap import CellBootstrap, percentile_ends
from analysis.intervals import ensure_intervals
from analysis.probability_scores import Measured, probability_scores
from analysis.reliability import BINNINGS, ReliabilityBins, ece, reliability_bins
from analysis.scores import ScoredObjects
from db.models.calibration import Calibration, ReliabilityBin
from db.models.evaluation import Metric
from training.calibrators import CALIBRATORS, Calibrator, PlattScaling, calibrator_of, shift_prevalence

Floats = npt.NDArray[np.float64]

RAW = "raw"
MEASURES = ("ece", "ece_top_1_percent", "brier", "brier_skill", "log_loss")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CalibrateConfig:
    """Bins of reliability, and replicates of the bootstraps of the fit and of the metrics."""

    n_bins: int = 15
    n_bins_top: int = 5
    n_bootstrap: int = 200
    n_bootstrap_metrics: int = 1000
    seed: int = 42


def calibrate(
    connection: Connection, model_id: int, objects: ScoredObjects, config: CalibrateConfig, run_id: int
) -> tuple[str, ...]:
    """Fit the calibrations of a model, measure raw and calibrated scores, replace its rows; return what was fitted.

    The fits are on the calibration part of val, unweighted: on positives found in ground imaging and negatives as
    drawn, so that a probability holds at their prevalence, about 1/100. The negatives are richer in confusers than
    the survey, so that a probability shifted to the sky's prevalence errs on the low side. Measured are the other part
    of val and, where `objects` hold it, test: never an object that was fitted on. A calibration part without one of
    the classes fits nothing, and raw scores alone are measured.

    Rows of a split that `objects` lack stay while the fits are the same, and go with the fits that they are of.

    Parameters
    ----------
    objects
        Scores of the splits that may be read.
    """
    is_headline = (objects.pool == "positive") & (objects.discovery == "ground_imaging")
    headline = objects.where((objects.label == 0) | is_headline)
    fitted = _fit(headline.where((headline.split == "val") & headline.is_calibration), config)
    if not fitted:
        _log.warning("the calibration part of val lacks a class: no calibration was fitted; evaluate on a larger draw")
    parts = {
        split: part
        for split, chosen in (("val", ~headline.is_calibration), ("test", np.full(len(headline), True)))
        if len(part := headline.where((headline.split == split) & chosen))
    }
    _delete_old(connection, model_id, {row["method"]: row["body"] for row in fitted}, tuple(parts))
    if fitted:
        connection.execute(insert(Calibration), [{"model_id": model_id, "run_id": run_id, **row} for row in fitted])
    calibrators = {row["method"]: calibrator_of(row["body"]) for row in fitted}
    for split, part in parts.items():
        _measure(connection, {"model_id": model_id, "split": split}, part, calibrators, config)
    return tuple(calibrators)


def probabilities(
    connection: Connection, model_id: int, scores: npt.ArrayLike, prevalence: float | None = None
) -> tuple[Floats, Floats, Floats] | None:
    """Return the calibrated probability of each score, of shape (n,), with the ends of its 95 % interval.

    By Platt scaling: at the top scores, where candidates are, the isotonic calibration rests on few objects and reaches
    0 and 1, which no other prevalence would move. The interval is of the fit: percentiles of the same fit to
    bootstrapped sky cells. `results.calibrations` and `results.reliability` say how well the fit holds.

    Parameters
    ----------
    prevalence
        Share of lenses that the probabilities are for; None leaves that of the calibration part. For all galaxies of
        the sky it is about 1e-4.

    Returns
    -------
    tuple of arrays, or None where the model has no calibration.
    """
    row = connection.execute(
        select(Calibration.body, Calibration.prevalence).where(
            Calibration.model_id == model_id, Calibration.method == PlattScaling.method
        )
    ).first()
    if row is None:
        return None
    s = np.asarray(scores, dtype=np.float64)
    p = PlattScaling.from_body(row.body).apply(s)
    replicates = [PlattScaling(*pair).apply(s) for pair in row.body["replicates"]]
    lo, hi = percentile_ends(np.stack(replicates, axis=1)).T if replicates and len(s) else (p, p)
    ends = (p, np.minimum(lo, p), np.maximum(hi, p))
    if prevalence is None:
        return ends
    shifted = [shift_prevalence(end, row.prevalence, prevalence) for end in ends]
    return shifted[0], shifted[1], shifted[2]


def _fit(part: ScoredObjects, config: CalibrateConfig) -> list[dict[str, Any]]:
    """Rows of `evaluation.calibration` without model and run."""
    n_positives = int(part.label.sum())
    n_negatives = len(part.label) - n_positives
    if not n_positives or not n_negatives:
        return []
    rows = []
    for method, kind in CALIBRATORS.items():
        body = kind.fit(part.score, part.label).to_body()
        if method == PlattScaling.method:
            body["replicates"] = _platt_replicates(part, config)
        rows.append(
            {
                "method": method,
                "body": body,
                "n_positives": n_positives,
                "n_negatives": n_negatives,
                "prevalence": n_positives / len(part.label),
            }
        )
    return rows


def _platt_replicates(part: ScoredObjects, config: CalibrateConfig) -> list[list[float]]:
    """Intercept and slope on each resampling of the part's cells that has both classes."""
    resampled = CellBootstrap.draw(part.healpix_128, config.n_bootstrap, config.seed)
    found = []
    for block in resampled.blocks:
        for counts in block.T:
            weight = counts[resampled.number]
            use = weight > 0
            if len(np.unique(part.label[use])) == 2:
                fitted = PlattScaling.fit(part.score[use], part.label[use], weight[use])
                found.append([fitted.intercept, fitted.slope])
    return found


def _fit_of(body: Mapping[str, object]) -> dict[str, object]:
    """What was fitted without the replicates, which no measurement depends on."""
    return {name: value for name, value in body.items() if name != "replicates"}


def _delete_old(
    connection: Connection, model_id: int, bodies: Mapping[str, Mapping[str, object]], splits: tuple[str, ...]
) -> None:
    known = select(Calibration.method, Calibration.body).where(Calibration.model_id == model_id)
    is_same = {row.method: _fit_of(row.body) for row in connection.execute(known)} == {
        method: _fit_of(body) for method, body in bodies.items()
    }
    names = [f"{measure}_{method}" for measure in MEASURES for method in (RAW, *CALIBRATORS)]
    old_bins = delete(ReliabilityBin).where(ReliabilityBin.model_id == model_id)
    old_metrics = delete(Metric).where(Metric.model_id == model_id, Metric.name.in_(names))
    if is_same:
        old_bins = old_bins.where(ReliabilityBin.split.in_(splits))
        old_metrics = old_metrics.where(Metric.split.in_(splits))
    for statement in (old_bins, old_metrics, delete(Calibration).where(Calibration.model_id == model_id)):
        connection.execute(statement)


def _measure(
    connection: Connection,
    of: Mapping[str, object],
    part: ScoredObjects,
    calibrators: Mapping[str, Calibrator],
    config: CalibrateConfig,
) -> None:
    n_positives = int(part.label.sum())
    counts = {"n_positives": n_positives, "n_negatives": len(part.label) - n_positives}
    resampled = CellBootstrap.draw(part.healpix_128, config.n_bootstrap_metrics, config.seed)
    metrics: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for method in (RAW, *calibrators):
        p = part.score if method == RAW else calibrators[method].apply(part.score)
        found = dict(probability_scores(p, part.label, resampled))
        for binning in BINNINGS:
            bins = reliability_bins(
                p, part.label, config.n_bins_top if binning == "top_1_percent" else config.n_bins, binning
            )
            if binning != "equal_width":
                found["ece" if binning == "equal_mass" else "ece_top_1_percent"] = Measured(ece(bins))
            rows += [{**of, "method": method, "binning": binning, **row} for row in _rows(bins)]
        for name, measured in found.items():
            how = None if measured.lo is None else BOOTSTRAP
            metrics.append({**of, **counts, "name": f"{name}_{method}", "method": how, **asdict(measured)})
    connection.execute(insert(Metric), metrics)
    connection.execute(insert(ReliabilityBin), rows)
    ensure_intervals(connection, {(int(row["k"]), int(row["n"])) for row in rows})


def _rows(bins: ReliabilityBins) -> list[dict[str, Any]]:
    columns = {name: getattr(bins, name).tolist() for name in ("n", "k", "mean_p", "p_lo", "p_hi")}
    return [{"bin": i, **{name: values[i] for name, values in columns.items()}} for i in range(len(bins))]
