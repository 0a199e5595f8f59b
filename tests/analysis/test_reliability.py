"""Reliability against plain loops, scikit-learn and a published curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics
from sklearn.calibration import calibration_curve

from analysis.bootstrap import CellBootstrap
from analysis.errors import AnalysisError
from analysis.probability_scores import probability_scores
from analysis.reliability import (
    BINNINGS,
    Binning,
    ReliabilityBins,
    brier,
    brier_skill,
    ece,
    log_loss,
    reliability_bins,
)


def sample(n: int = 20_000, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and labels of which the predictions are the probabilities."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(-3, 2, n))
    return p, (rng.random(n) < p).astype(int)


def test_the_published_bins_give_the_published_calibration_error(shared_data: Path) -> None:
    body = json.loads((shared_data / "published" / "resnet18_baseline_eval.json").read_text())
    curve = body["reliability_curve"]
    n = np.array(curve["bin_counts"])
    k = np.rint(np.array(curve["bin_acc"]) * n).astype(int)
    edges = np.array(curve["bin_edges"])
    bins = ReliabilityBins(n, k, np.array(curve["bin_conf"]), edges[:-1], edges[1:])
    assert len(bins) == body["overall"]["n_bins"] == 15
    assert n.sum() == body["n_samples"]
    assert ece(bins) == pytest.approx(body["overall"]["ece"], abs=1e-6)
    assert round(ece(bins), 5) == 0.00273


def test_equal_mass_is_the_binning_of_the_published_curve() -> None:
    p, y = sample(62_760)
    assert set(reliability_bins(p, y, 15).n) == {4184}


@pytest.mark.parametrize("n", [15, 16, 1_000, 4_003])
def test_equal_mass_bins_are_those_of_array_split(n: int) -> None:
    p, y = sample(n)
    order = np.argsort(p)
    bins = reliability_bins(p, y, 15)
    for i, part in enumerate(np.array_split(order, 15)):
        assert (bins.n[i], bins.k[i]) == (len(part), y[part].sum())
        assert (bins.p_lo[i], bins.p_hi[i]) == (p[part].min(), p[part].max())
        assert bins.mean_p[i] == pytest.approx(p[part].mean())


@pytest.mark.parametrize("binning", BINNINGS)
def test_equal_predictions_are_never_parted_and_every_object_is_counted_once(binning: Binning) -> None:
    p, y = sample(3_000)
    p = np.round(p, 2)
    bins = reliability_bins(p, y, 15, binning)
    kept = p >= np.sort(p)[-30] if binning == "top_1_percent" else np.full(len(p), True)
    assert (bins.n.sum(), bins.k.sum()) == (kept.sum(), y[kept].sum())
    assert bins.n @ bins.mean_p == pytest.approx(p[kept].sum())
    assert (bins.n > 0).all()
    if binning == "equal_width":
        assert (bins.p_lo[1:] >= bins.p_hi[:-1]).all()
    else:
        assert (bins.p_lo[1:] > bins.p_hi[:-1]).all()
        for lo, hi, n in zip(bins.p_lo, bins.p_hi, bins.n, strict=True):
            assert ((p >= lo) & (p <= hi)).sum() == n


def test_predictions_that_are_all_alike_make_one_bin() -> None:
    for binning in BINNINGS:
        bins = reliability_bins(np.full(40, 0.25), np.r_[np.ones(10), np.zeros(30)], 15, binning)
        assert (len(bins), bins.n[0], bins.k[0], bins.mean_p[0]) == (1, 40, 10, 0.25)
        assert ece(bins) == 0


def test_equal_width_bins_are_scikit_learns() -> None:
    p, y = sample(2_000)
    bins = reliability_bins(p, y, 10, "equal_width")
    rate, mean = calibration_curve(y, p, n_bins=10)
    np.testing.assert_allclose(bins.k / bins.n, rate)
    np.testing.assert_allclose(bins.mean_p, mean)
    on_edges = reliability_bins([0.0, 0.1, 0.5, 1.0], [0, 1, 0, 1], 10, "equal_width")
    np.testing.assert_allclose(on_edges.p_lo, [0, 0.1, 0.5, 0.9])


def test_the_top_hundredth_holds_the_highest_predictions() -> None:
    p, y = sample(2_050)
    bins = reliability_bins(p, y, 5, "top_1_percent")
    top = np.sort(p)[-21:]
    assert bins.n.tolist() == [5, 4, 4, 4, 4]
    assert (bins.p_lo[0], bins.p_hi[-1]) == (top[0], top[-1])
    assert bins.k.sum() == y[p >= top[0]].sum()


def test_true_probabilities_have_a_small_calibration_error_and_distorted_ones_a_large_one() -> None:
    p, y = sample()
    assert ece(reliability_bins(p, y)) < 0.01
    assert ece(reliability_bins(np.sqrt(p), y)) > 0.1
    assert ece(reliability_bins(1 - p, y)) > 0.5


def test_brier_and_log_loss_are_scikit_learns() -> None:
    p, y = sample(1_500)
    assert brier(p, y) == pytest.approx(metrics.brier_score_loss(y, p))
    assert log_loss(p, y) == pytest.approx(metrics.log_loss(y, p))
    base = np.full(1_500, y.mean())
    assert brier_skill(p, y) == pytest.approx(1 - metrics.brier_score_loss(y, p) / metrics.brier_score_loss(y, base))


def test_the_skill_is_one_for_certainty_and_nothing_for_the_base_rate() -> None:
    y = np.array([1, 0, 0, 0])
    assert brier_skill(y, y) == 1
    assert brier_skill(np.full(4, 0.25), y) == 0
    assert brier_skill(1 - y, y) < 0


def test_a_certain_error_costs_a_finite_log_loss() -> None:
    assert log_loss([0.0], [1]) == pytest.approx(53 * np.log(2))
    assert log_loss([1.0], [0]) == pytest.approx(53 * np.log(2))
    assert log_loss([0.0, 1.0], [0, 1]) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("p", "y", "words"),
    [
        ([0.1, np.nan], [0, 1], "NaN"),
        ([0.1, 1.5], [0, 1], r"outside \[0, 1\]"),
        ([0.1, 0.5], [0, 2], "neither 0 nor 1"),
        ([], [], "at least one object"),
        ([0.1], [0, 1], "one row of each"),
    ],
)
def test_what_is_no_probability_or_class_is_refused(p: list[float], y: list[int], words: str) -> None:
    for measure in (brier, log_loss, brier_skill, reliability_bins):
        with pytest.raises(AnalysisError, match=words):
            measure(p, y)


def test_one_class_has_no_skill_and_no_bins_are_no_bins() -> None:
    with pytest.raises(AnalysisError, match="one class"):
        brier_skill([0.2, 0.3], [0, 0])
    with pytest.raises(AnalysisError, match="0 bins"):
        reliability_bins([0.2], [0], 0)


def test_intervals_are_those_of_resampled_cells_counted_by_hand() -> None:
    p, y = sample(400)
    cell = np.random.default_rng(3).integers(0, 30, 400)
    resampled = CellBootstrap.draw(cell, 100, 7)
    found = probability_scores(p, y, resampled)
    times = np.concatenate([block.T for block in resampled.blocks])
    measures = {"brier": brier, "log_loss": log_loss, "brier_skill": brier_skill}
    assert set(found) == set(measures)
    for name, measure in measures.items():
        replicates = []
        for counts in times:
            drawn = np.repeat(np.arange(400), counts[resampled.number])
            replicates.append(measure(p[drawn], y[drawn]))
        ends = (found[name].lo, found[name].value, found[name].hi)
        assert ends == pytest.approx((np.quantile(replicates, 0.025), measure(p, y), np.quantile(replicates, 0.975)))


def test_one_class_has_scores_but_no_skill() -> None:
    p = np.array([0.1, 0.2, 0.3])
    found = probability_scores(p, np.zeros(3, int), CellBootstrap.draw(np.arange(3), 50, 1))
    assert set(found) == {"brier", "log_loss"}
