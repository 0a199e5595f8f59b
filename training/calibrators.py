"""Calibrators: monotone maps from a model's scores to probabilities, fitted on labelled objects.

A probability holds at the prevalence of the objects that it was fitted on; `shift_prevalence` takes it to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from training.errors import CalibrationError

Floats = npt.NDArray[np.float64]

SMALLEST = float(np.finfo(np.float64).epsneg)
"""2^-53, the gap below 1 in float64: scores are kept this far from 0 and 1, so that |logit| <= 36.8."""

TEMPERATURE_RANGE = (0.01, 100.0)
MAX_NEWTON_STEPS = 100


def logit(scores: npt.ArrayLike) -> Floats:
    """Return ln(s / (1 - s)) of scores in [0, 1]; those nearer than 2^-53 to an end count as that far from it."""
    clipped = np.clip(np.asarray(scores, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def shift_prevalence(probability: npt.ArrayLike, from_prevalence: float, to_prevalence: float) -> Floats:
    """Return probabilities of the positive class for a population of another prevalence.

    Bayes' rule, where only the mix of the classes differs, not the scores within a class: Saerens, Latinne &
    Decaestecker (2002), Neural Computation 14, 21, eq. 2.4.

    Raises
    ------
    CalibrationError
        When a prevalence is not within (0, 1).
    """
    for prevalence in (from_prevalence, to_prevalence):
        if not 0 < prevalence < 1:
            raise CalibrationError(f"prevalence {prevalence:g} is not between 0 and 1; give the share of positives")
    p = np.asarray(probability, dtype=np.float64)
    positive = p * (to_prevalence / from_prevalence)
    negative = (1 - p) * ((1 - to_prevalence) / (1 - from_prevalence))
    return np.asarray(positive / (positive + negative))


class Calibrator(Protocol):
    """A fitted map from scores to probabilities."""

    method: ClassVar[str]

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the probability for each score, of the same shape."""
        ...

    def to_body(self) -> dict[str, object]:
        """Return what was fitted, as JSON can hold it; `calibrator_of` reads it."""
        ...


@dataclass(frozen=True)
class TemperatureScaling:
    """sigmoid(logit(s) / T): Guo et al. (2017), arXiv:1706.04599. It keeps 0.5 at 0.5, so it cannot mend a prior.

    T minimises the log loss within [0.01, 100]; separable classes end at the lower limit.
    """

    temperature: float
    method: ClassVar[str] = "temperature"

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Fit on labelled scores; raises CalibrationError where a class is absent or a value is out of range."""
        s, y, w = _checked(scores, labels, weights)
        x = logit(s)
        limits = tuple(np.log(TEMPERATURE_RANGE))
        found = minimize_scalar(
            lambda log_t: _log_loss(x * np.exp(-log_t), y, w), bounds=limits, method="bounded", options={"xatol": 1e-9}
        )
        return cls(float(np.exp(found.x)))

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the probability for each score, of the same shape."""
        return np.asarray(expit(logit(scores) / self.temperature))

    def to_body(self) -> dict[str, object]:
        """Return the temperature."""
        return {"method": self.method, "temperature": self.temperature}

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """Read what `to_body` gave."""
        return cls(_number(body, "temperature"))


@dataclass(frozen=True)
class PlattScaling:
    """sigmoid(a + b logit(s)), fitted to Platt's (1999) smoothed targets, so that separable classes stay finite.

    Targets are (n_pos + 1) / (n_pos + 2) and 1 / (n_neg + 2), with sums of weights for counts where there are weights.
    """

    intercept: float
    slope: float
    method: ClassVar[str] = "platt"

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Fit on labelled scores; raises CalibrationError where a class is absent or a value is out of range."""
        s, y, w = _checked(scores, labels, weights)
        x = logit(s)
        n_positives, n_negatives = float(w[y == 1].sum()), float(w[y == 0].sum())
        target = np.where(y == 1, (n_positives + 1) / (n_positives + 2), 1 / (n_negatives + 2))
        # In units of their spread the logits, which reach +-37, make the two curvatures alike.
        centre, spread = float(x.mean()), float(x.std()) or 1.0
        at_centre, slope = _logistic((x - centre) / spread, target, w) / (1, spread)
        return cls(float(at_centre - slope * centre), float(slope))

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the probability for each score, of the same shape."""
        return np.asarray(expit(self.intercept + self.slope * logit(scores)))

    def to_body(self) -> dict[str, object]:
        """Return intercept and slope."""
        return {"method": self.method, "intercept": self.intercept, "slope": self.slope}

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """Read what `to_body` gave."""
        return cls(_number(body, "intercept"), _number(body, "slope"))


@dataclass(frozen=True)
class IsotonicCalibration:
    """A rising step function of the score, straight between its steps: Zadrozny & Elkan (2002), KDD, p. 694.

    Its ends may be exactly 0 and 1, where a logit is that of `logit`'s limits; beyond them it stays level.
    """

    score: tuple[float, ...]
    probability: tuple[float, ...]
    method: ClassVar[str] = "isotonic"

    @classmethod
    def fit(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Self:
        """Fit on labelled scores; raises CalibrationError where a class is absent or a value is out of range."""
        s, y, w = _checked(scores, labels, weights)
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(s, y, sample_weight=w)
        return cls(tuple(map(float, fitted.X_thresholds_)), tuple(map(float, fitted.y_thresholds_)))

    def apply(self, scores: npt.ArrayLike) -> Floats:
        """Return the probability for each score, of the same shape."""
        return np.asarray(np.interp(np.asarray(scores, dtype=np.float64), self.score, self.probability))

    def to_body(self) -> dict[str, object]:
        """Return the corners of the function."""
        return {"method": self.method, "score": list(self.score), "probability": list(self.probability)}

    @classmethod
    def from_body(cls, body: Mapping[str, object]) -> Self:
        """Read what `to_body` gave."""
        score, probability = _numbers(body, "score"), _numbers(body, "probability")
        if len(score) != len(probability):
            raise CalibrationError(f"an isotonic calibration has {len(score)} scores for {len(probability)} values")
        return cls(score, probability)


CALIBRATORS: Mapping[str, type[TemperatureScaling | PlattScaling | IsotonicCalibration]] = {
    kind.method: kind for kind in (TemperatureScaling, PlattScaling, IsotonicCalibration)
}
"""Each calibrator by the word for it."""


def calibrator_of(body: Mapping[str, object]) -> TemperatureScaling | PlattScaling | IsotonicCalibration:
    """Return the calibrator that a `to_body` describes; raises CalibrationError where it is of none."""
    kind = CALIBRATORS.get(str(body.get("method")))
    if kind is None:
        known = ", ".join(CALIBRATORS)
        raise CalibrationError(f"calibration method {body.get('method')!r} is not known; known are {known}")
    return kind.from_body(body)


def _checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    s = np.asarray(scores, dtype=np.float64)
    y = np.asarray(labels, dtype=np.float64)
    w = np.ones(s.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if s.ndim != 1 or s.shape != y.shape or s.shape != w.shape:
        raise CalibrationError(f"{s.shape} scores, {y.shape} labels and {w.shape} weights are not rows of one table")
    if not ((s >= 0) & (s <= 1)).all():
        raise CalibrationError("a score to calibrate is NaN or outside [0, 1]; score the model again")
    if not np.isin(y, (0, 1)).all():
        raise CalibrationError("a label is neither 0 nor 1; calibrate on labels, not on smoothed targets")
    if not ((w >= 0) & np.isfinite(w)).all():
        raise CalibrationError("a weight is negative or not finite; weights are counts of objects")
    for label, word in ((0, "negatives"), (1, "positives")):
        if not w[y == label].sum() > 0:
            raise CalibrationError(f"the calibration part has no {word}; use a draw whose part has both classes")
    return s, y, w


def _log_loss(z: Floats, target: Floats, weights: Floats) -> float:
    """Mean log loss of log-odds z; log(1 + e^z) - t z never overflows."""
    return float(np.average(np.logaddexp(0, z) - target * z, weights=weights))


def _logistic(x: Floats, target: Floats, weights: Floats) -> Floats:
    """Intercept and slope of least log loss by Newton's method, halving steps that go too far.

    Targets within (0, 1) keep the minimum finite; scores that are all alike determine no slope, and it stays 1.
    """
    design = np.stack([np.ones_like(x), x])
    found = np.array([0.0, 1.0])
    free = [0, 1] if np.ptp(x) > 0 else [0]
    loss = _log_loss(found @ design, target, weights)
    for _ in range(MAX_NEWTON_STEPS):
        p = expit(found @ design)
        gradient = design @ (weights * (p - target))
        curvature = (design * (weights * p * (1 - p))) @ design.T
        step = np.zeros(2)
        step[free] = np.linalg.lstsq(curvature[np.ix_(free, free)], gradient[free], rcond=None)[0]
        while (after := _log_loss((found - step) @ design, target, weights)) > loss and np.abs(step).max() > 1e-12:
            step /= 2
        found, gain, loss = found - step, loss - after, after
        if np.abs(step).max() < 1e-10 or gain <= 0:
            break
    return found


def _number(body: Mapping[str, object], name: str) -> float:
    value = body.get(name)
    if not isinstance(value, int | float):
        raise CalibrationError(f"a stored calibration has {name} = {value!r}, not a number; evaluate the model again")
    return float(value)


def _numbers(body: Mapping[str, object], name: str) -> tuple[float, ...]:
    values = body.get(name)
    if not isinstance(values, list) or not values:
        raise CalibrationError(f"a stored calibration has no list {name}; evaluate the model again")
    return tuple(_number({name: value}, name) for value in values)
