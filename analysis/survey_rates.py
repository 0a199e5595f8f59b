"""False-positive rates of the survey: those of the draw, reweighted by inclusion probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, delete, insert, select

from analysis.bootstrap import METHOD as BOOTSTRAP
from analysis.bootstrap import CellBootstrap, percentile_ends
from analysis.errors import AnalysisError
from analysis.intervals import wilson
from analysis.scores import ScoredObjects
from db.models.calibration import SurveyRate
from db.models.evaluation import OperatingPoint

Floats = npt.NDArray[np.float64]

WILSON = "wilson at the effective number"
FEW_EXCEEDANCES = 10
"""Below so many objects above a threshold a bootstrap has too little to resample: with none it says 0 to 0."""


@dataclass(frozen=True)
class Negatives:
    """Negatives of a draw, each array of shape (n,): score, inclusion probability in (0, 1] and sky cell."""

    score: Floats
    inclusion_probability: Floats
    cell: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rate:
    """A weighted rate, the ends of its 95 % interval and their method, and the negatives that it rests on."""

    value: float
    lo: float
    hi: float
    method: str
    n: int
    n_exceedances: int
    n_effective: float


def survey_fprs(
    negatives: Negatives, thresholds: Sequence[float], *, n_bootstrap: int = 2000, seed: int = 0
) -> list[Rate]:
    """Return the share of the survey's galaxies at or above each threshold, lenses apart.

    A draw takes N2 from the confusers first and N1 from what is left, so a confuser can come by either; its inclusion
    probability is that of both ways together (``etl.draw``). Hence N1 and N2 are one sample of unequal probabilities,
    and the ratio estimator of Hajek (1971) is sum(w d) / sum(w) over both with w = 1 / probability. N1 alone would
    lack confusers, and N2 alone be nothing else. The population is the galaxies that the draw could have taken.

    The interval is a percentile bootstrap by sky cell; with fewer than 10 exceedances it is Wilson's at Kish's (1965)
    effective number, sum(w)^2 / sum(w^2).

    Raises
    ------
    AnalysisError
        When there is no negative, or an inclusion probability is not within (0, 1].
    """
    p = negatives.inclusion_probability
    if not len(p) or not ((p > 0) & (p <= 1)).all():
        raise AnalysisError(f"{len(p):,} negatives with inclusion probabilities, not all within (0, 1]; draw again")
    weight = 1 / p
    detected = np.stack([negatives.score >= threshold for threshold in thresholds])
    resampled = CellBootstrap.draw(negatives.cell, n_bootstrap, seed)
    rows = [*(weight * row for row in detected), weight]
    by_cell = np.stack([np.bincount(resampled.number, row, minlength=resampled.n_cells) for row in rows])
    totals = np.concatenate([by_cell @ block.astype(np.float64) for block in resampled.blocks], axis=1)
    ends = percentile_ends(totals[:-1] / totals[-1])
    n_effective = min(float(weight.sum() ** 2 / (weight**2).sum()), float(len(p)))
    found = []
    for row, (lo, hi) in zip(detected, ends, strict=True):
        value, method = float(weight[row].sum() / weight.sum()), BOOTSTRAP
        if row.sum() < FEW_EXCEEDANCES:
            lo, hi = wilson(value * n_effective, n_effective)  # noqa: PLW2901 - the ends of the other method
            method = WILSON
        found.append(
            Rate(value, min(float(lo), value), max(float(hi), value), method, len(p), int(row.sum()), n_effective)
        )
    return found


def replace_survey_rates(
    connection: Connection, model_id: int, objects: ScoredObjects, *, n_bootstrap: int = 2000, seed: int = 0
) -> int:
    """Write the survey's false-positive rate at each operating point of a model; return how many were written.

    On val and test, where `objects` hold them: scores of the splits that may be read.

    Negatives without an inclusion probability are left out: mined ones, which are no sample of anything. A split with
    none (a draw that was imported without them) has no rate of the survey.
    """
    points = connection.execute(
        select(OperatingPoint.operating_point_id, OperatingPoint.threshold)
        .where(OperatingPoint.model_id == model_id)
        .order_by(OperatingPoint.operating_point_id)
    ).all()
    keys = [point.operating_point_id for point in points]
    rows = []
    for split in ("val", "test"):
        if not (objects.split == split).any():
            continue
        connection.execute(delete(SurveyRate).where(SurveyRate.operating_point_id.in_(keys), SurveyRate.split == split))
        here = objects.where(
            (objects.split == split) & (objects.label == 0) & np.isfinite(objects.inclusion_probability)
        )
        if not keys or not len(here.score):
            continue
        negatives = Negatives(here.score, here.inclusion_probability, here.healpix_128)
        rates = survey_fprs(negatives, [point.threshold for point in points], n_bootstrap=n_bootstrap, seed=seed)
        rows += [
            {"operating_point_id": key, "split": split, "what": "fpr", **asdict(rate)}
            for key, rate in zip(keys, rates, strict=True)
        ]
    if rows:
        connection.execute(insert(SurveyRate), rows)
    return len(rows)
