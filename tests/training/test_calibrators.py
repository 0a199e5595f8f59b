"""Calibrators against scipy, scikit-learn and exact posteriors."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import logit as scipy_logit
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from training.calibrators import (
    CALIBRATORS,
    IsotonicCalibration,
    PlattScaling,
    TemperatureScaling,
    calibrator_of,
    logit,
    shift_prevalence,
)
from training.errors import CalibrationError


def labelled(n: int = 40_000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds z and labels of which exactly sigmoid(z) is the probability."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-2, 2.5, n)
    return z, (rng.random(n) < expit(z)).astype(int)


def test_a_logit_is_scipys_and_stays_finite_at_the_ends() -> None:
    inner = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(logit(inner), scipy_logit(inner), rtol=1e-12, atol=1e-12)
    lowest, highest = logit([0.0, 1.0])
    assert lowest == -highest
    assert 36.7 < highest < 36.8
    assert logit(1e-300) == lowest
    np.testing.assert_allclose(expit(logit([0, 1])), [0, 1], atol=2e-16)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_spoilt_the_scores_is_found_again(temperature: float) -> None:
    z, label = labelled()
    found = TemperatureScaling.fit(expit(z * temperature), label)
    assert found.temperature == pytest.approx(temperature, rel=0.03)
    np.testing.assert_allclose(found.apply(expit(z * temperature)), expit(z * temperature / found.temperature))


def test_no_other_temperature_has_a_smaller_log_loss() -> None:
    z, label = labelled(2_000)
    found = TemperatureScaling.fit(expit(z), label).temperature

    def loss(t: float) -> float:
        p = expit(z / t)
        return float(-np.mean(label * np.log(p) + (1 - label) * np.log1p(-p)))

    assert loss(found) <= min(loss(t) for t in np.geomspace(0.5, 10, 2_001)) + 1e-12


def test_separable_classes_end_at_the_limit_of_the_temperature() -> None:
    found = TemperatureScaling.fit([0.4, 0.45, 0.55, 0.6], [0, 0, 1, 1])
    assert found.temperature == pytest.approx(0.01, rel=1e-4)


def test_platt_finds_the_line_that_spoilt_the_log_odds() -> None:
    z, label = labelled()
    found = PlattScaling.fit(expit((z - 1.2) / 0.7), label)
    assert (found.intercept, found.slope) == pytest.approx((1.2, 0.7), abs=0.06)


@pytest.mark.parametrize("spread", [0.05, 1.0, 8.0])
def test_platt_is_scikit_learns_logistic_regression_on_the_smoothed_targets(spread: float) -> None:
    z, label = labelled(600)
    scores = expit(z * spread)
    weight = np.random.default_rng(1).integers(0, 4, 600).astype(float)
    n_pos, n_neg = weight[label == 1].sum(), weight[label == 0].sum()
    target = np.where(label == 1, (n_pos + 1) / (n_pos + 2), 1 / (n_neg + 2))
    truth = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
    truth.fit(
        np.tile(logit(scores), 2)[:, None],
        np.repeat([1, 0], 600),
        np.concatenate([target * weight, (1 - target) * weight]),
    )
    found = PlattScaling.fit(scores, label, weight)
    assert found.slope == pytest.approx(truth.coef_[0, 0], rel=1e-3)
    assert found.intercept == pytest.approx(truth.intercept_[0], rel=1e-3)


def test_platt_stays_finite_on_separable_and_on_equal_scores() -> None:
    separable = PlattScaling.fit([0.0, 0.0, 1.0], [0, 0, 1])
    np.testing.assert_allclose(separable.apply([0.0, 1.0]), [1 / 4, 2 / 3], rtol=1e-6)
    alike = PlattScaling.fit([0.3] * 4, [1, 0, 0, 0])
    assert alike.apply([0.3])[0] == pytest.approx((2 / 3 + 3 / 5) / 4)


@pytest.mark.parametrize("method", CALIBRATORS)
def test_a_weight_of_three_is_three_objects(method: str) -> None:
    z, label = labelled(300)
    scores, weight = np.round(expit(z), 2), np.random.default_rng(2).integers(1, 4, 300)
    weighted = CALIBRATORS[method].fit(scores, label, weight)
    repeated = CALIBRATORS[method].fit(scores.repeat(weight), label.repeat(weight))
    np.testing.assert_allclose(weighted.apply(scores), repeated.apply(scores), atol=1e-6)


def test_the_isotonic_calibration_is_scikit_learns_and_minimises_the_squared_error_among_rising_ones() -> None:
    z, label = labelled(500)
    scores = np.round(expit(z), 2)
    grid = np.linspace(0, 1, 301)
    found = IsotonicCalibration.fit(scores, label)
    truth = IsotonicRegression(out_of_bounds="clip").fit(scores, label)
    np.testing.assert_allclose(found.apply(grid), truth.predict(grid), atol=1e-12)
    p = found.apply(np.sort(scores))
    assert (np.diff(p) >= 0).all()
    assert p.mean() == pytest.approx(label.mean())


@pytest.mark.parametrize("method", CALIBRATORS)
def test_a_calibration_comes_back_from_json_as_it_was(method: str) -> None:
    z, label = labelled(400)
    fitted = CALIBRATORS[method].fit(expit(z), label)
    again = calibrator_of(json.loads(json.dumps(fitted.to_body())))
    assert again == fitted
    np.testing.assert_array_equal(again.apply([0, 0.2, 1]), fitted.apply([0, 0.2, 1]))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "method None is not known; known are temperature, platt, isotonic"),
        ({"method": "platt", "intercept": 1.0}, "slope = None"),
        ({"method": "isotonic", "score": [0.1], "probability": [0.1, 0.2]}, "1 scores for 2 values"),
        ({"method": "isotonic", "score": []}, "no list score"),
    ],
)
def test_a_body_that_describes_no_calibration_is_refused(body: dict[str, object], words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        calibrator_of(body)


@pytest.mark.parametrize("method", CALIBRATORS)
@pytest.mark.parametrize(
    ("scores", "labels", "weights", "words"),
    [
        ([0.1, 0.2], [0, 0], None, "no positives"),
        ([0.1, 0.2], [1, 1], None, "no negatives"),
        ([], [], None, "no negatives"),
        ([0.1, 0.2], [1, 0], [0.0, 1.0], "no positives"),
        ([0.1, np.nan], [0, 1], None, "NaN or outside"),
        ([0.1, 1.1], [0, 1], None, "NaN or outside"),
        ([0.1, 0.2], [0, 0.8], None, "neither 0 nor 1"),
        ([0.1, 0.2], [0, 1], [1, -1], "negative or not finite"),
        ([0.1, 0.2], [0, 1, 1], None, "not rows of one table"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    method: str, scores: list[float], labels: list[float], weights: list[float] | None, words: str
) -> None:
    with pytest.raises(CalibrationError, match=words):
        CALIBRATORS[method].fit(scores, labels, weights)


def test_a_shift_of_the_prevalence_is_bayes_rule_for_two_gaussians() -> None:
    x = np.linspace(-4, 6, 101)

    def posterior(prevalence: float) -> np.ndarray:
        positive, negative = prevalence * norm.pdf(x, 2, 1), (1 - prevalence) * norm.pdf(x, 0, 1)
        return np.asarray(positive / (positive + negative))

    np.testing.assert_allclose(shift_prevalence(posterior(0.01), 0.01, 1e-4), posterior(1e-4), rtol=1e-10)
    np.testing.assert_allclose(shift_prevalence([0.0, 1.0], 0.01, 1e-4), [0, 1])
    np.testing.assert_allclose(shift_prevalence(posterior(0.01), 0.01, 0.01), posterior(0.01), rtol=1e-12)


@pytest.mark.parametrize("prevalence", [0, 1, -0.1, float("nan")])
def test_a_prevalence_that_is_none_is_refused(prevalence: float) -> None:
    with pytest.raises(CalibrationError, match="is not between 0 and 1"):
        shift_prevalence([0.5], 0.01, prevalence)
