"""Combinations against known truths: coefficients that made the data, and exact posteriors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import log_loss, roc_auc_score

from training.ensemble.combine import combination_of, fit_combination
from training.errors import EnsembleError

Floats = npt.NDArray[np.float64]


def members_of_known_mixture(n: int) -> tuple[Floats, npt.NDArray[np.int64], tuple[float, Floats]]:
    """Correlated log-odds of three members, and labels that follow -2 + 0.5 a + 1.5 b + 0 c."""
    rng = np.random.default_rng(8)
    x = rng.multivariate_normal([-1, -2, 0], [[4, 2, 0], [2, 5, 1], [0, 1, 3]], n)
    intercept, slopes = -2.0, np.array([0.5, 1.5, 0.0])
    return expit(x), (rng.random(n) < expit(intercept + x @ slopes)).astype(np.int64), (intercept, slopes)


def independent_gaussians(n: int, prior: float) -> tuple[Floats, npt.NDArray[np.int64], Floats]:
    """Scores of three members, independent within each class, and the exact posterior of all three.

    Each member says expit(x) of a Gaussian x whose mean depends on the class: its own calibration is logistic in x.
    """
    rng = np.random.default_rng(9)
    label = (rng.random(n) < prior).astype(np.int64)
    means, widths = np.array([[-1.0, 1.0], [-2.0, 0.5], [0.0, 1.5]]), np.array([1.0, 1.5, 0.8])
    x = means[:, label].T + widths * rng.normal(size=(n, 3))
    likelihood = [norm.pdf(x, means[:, k], widths).prod(axis=1) for k in (0, 1)]
    posterior = prior * likelihood[1] / (prior * likelihood[1] + (1 - prior) * likelihood[0])
    return expit(x), label, posterior


def test_an_average_is_the_mean_score_and_needs_no_labels() -> None:
    scores = np.array([[0.1, 0.5], [0.9, 1.0], [0.0, 0.0]])
    average = fit_combination("average", scores, [0, 0, 0])
    np.testing.assert_allclose(average.apply(scores), [0.3, 0.95, 0.0])
    assert average.coefficients == (0.5, 0.5)


def test_stacking_recovers_the_coefficients_that_made_the_labels() -> None:
    scores, labels, (intercept, slopes) = members_of_known_mixture(60_000)
    found = fit_combination("stacking", scores, labels)
    np.testing.assert_allclose(found.coefficients, slopes, atol=0.05)
    assert found.to_body()["intercept"] == pytest.approx(intercept, abs=0.05)
    assert abs(found.apply(scores) - expit(intercept + logit(scores) @ slopes)).mean() < 0.002


def test_stacking_of_separable_classes_and_of_a_constant_member_stays_finite() -> None:
    label = np.arange(40) % 2
    scores = np.stack([np.where(label == 1, 1.0, 0.0), np.full(40, 0.5)], axis=1)
    found = fit_combination("stacking", scores, label)
    assert np.isfinite(found.coefficients).all()
    assert found.apply(scores)[label == 1].min() > 0.9
    assert found.apply(scores)[label == 0].max() < 0.1


def test_bayes_is_the_exact_posterior_of_members_that_are_independent_within_a_class() -> None:
    scores, labels, posterior = independent_gaussians(200_000, prior=0.1)
    found = fit_combination("bayes", scores, labels).apply(scores)
    np.testing.assert_allclose(found, posterior, atol=0.03)
    assert abs(found - posterior).mean() < 0.002
    assert log_loss(labels, found) == pytest.approx(log_loss(labels, posterior), abs=1e-4)
    # Neither the mean of the scores nor a product that counts the prior three times comes near.
    average = fit_combination("average", scores, labels).apply(scores)
    assert abs(average - posterior).mean() > 0.1


@pytest.mark.parametrize("method", ["average", "stacking", "bayes"])
def test_what_was_fitted_survives_json(method: str) -> None:
    scores, labels, _ = independent_gaussians(500, prior=0.3)
    found = fit_combination(method, scores, labels)
    again = combination_of(json.loads(json.dumps(found.to_body())))
    assert again == found
    np.testing.assert_array_equal(again.apply(scores), found.apply(scores))
    assert len(found.coefficients) == 3


@pytest.mark.parametrize("method", ["average", "stacking", "bayes"])
def test_scores_stay_scores_at_the_very_ends(method: str) -> None:
    scores, labels, _ = independent_gaussians(500, prior=0.3)
    found = fit_combination(method, scores, labels)
    ends = found.apply(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.5]]))
    assert np.isfinite(ends).all()
    assert 0 <= ends.min() <= ends.max() <= 1
    assert ends[0] < ends[1]


@pytest.mark.parametrize("method", ["stacking", "bayes"])
def test_a_part_without_a_class_is_refused_with_its_numbers(method: str) -> None:
    scores = np.random.default_rng(1).random((30, 2))
    with pytest.raises(EnsembleError, match="0 positives and 30 negatives to fit"):
        fit_combination(method, scores, np.zeros(30))
    with pytest.raises(EnsembleError, match="0 positives and 0 negatives to fit"):
        fit_combination(method, np.empty((0, 2)), np.empty(0))


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([[0.1, 0.2]], [0, 1], "not rows of one table"),
        ([0.1, 0.2], [0, 1], "not rows of one table"),
        ([[0.1, np.nan], [0.2, 0.3]], [0, 1], "NaN or outside"),
        ([[0.1, 1.2], [0.2, 0.3]], [0, 1], "NaN or outside"),
        ([[0.1, 0.2], [0.2, 0.3]], [0, 0.8], "neither 0 nor 1"),
    ],
)
def test_bad_input_is_refused(scores: object, labels: object, words: str) -> None:
    with pytest.raises(EnsembleError, match=words):
        fit_combination("average", np.array(scores), np.array(labels))


def test_scores_of_other_members_are_refused() -> None:
    average = fit_combination("average", np.full((4, 3), 0.5), [0, 1, 0, 1])
    with pytest.raises(EnsembleError, match=r"expected \(n, 3\)"):
        average.apply(np.full((4, 2), 0.5))
    with pytest.raises(EnsembleError, match="method 'vote' is not known; known are average, stacking, bayes"):
        fit_combination("vote", np.full((4, 3), 0.5), [0, 1, 0, 1])


def test_the_published_networks_are_averaged_and_stacked_on_their_own_split(shared_data: Path) -> None:
    table = pq.read_table(shared_data / "scores" / "meta_features_split.parquet").to_pandas()
    members = table[["p_resnet", "p_effnet"]].to_numpy(float)
    labels, is_test = table.label.to_numpy(), (table.split == "test").to_numpy()
    is_train = (table.split == "train").to_numpy()
    average = fit_combination("average", members[is_train], labels[is_train]).apply(members)
    np.testing.assert_allclose(average, table.p_avg, atol=1e-6)
    for method in ("stacking", "bayes"):
        found = fit_combination(method, members[is_train], labels[is_train]).apply(members)
        alone = max(roc_auc_score(labels[is_test], members[is_test, k]) for k in (0, 1))
        assert roc_auc_score(labels[is_test], found[is_test]) > alone - 0.005
        assert log_loss(labels[is_test], found[is_test]) < log_loss(labels[is_test], average[is_test])
