"""Rates of the survey against simulated surveys of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Connection, insert, select

from analysis.errors import AnalysisError
from analysis.intervals import wilson
from analysis.survey_rates import Negatives, replace_survey_rates, survey_fprs
from db.models.calibration import SurveyRate
from db.models.evaluation import OperatingPoint
from tests.analysis.scored import model_of, overconfident

THRESHOLD = 0.8
N_GALAXIES, N_CELLS = 40_000, 400
N_N2, N_N1 = 300, 1_700


class Survey:
    """Galaxies of which a tenth are confusers, which a finder takes for lenses far more often."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.is_confuser = rng.random(N_GALAXIES) < 0.1
        self.cell = rng.integers(0, N_CELLS, N_GALAXIES)
        self.score = np.where(rng.random(N_GALAXIES) < np.where(self.is_confuser, 0.15, 0.01), 0.9, 0.1)
        self.fpr = float((self.score >= THRESHOLD).mean())

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Members, whether each is N2, and inclusion probabilities: N2 from the confusers, then N1 from the rest."""
        confusers = np.flatnonzero(self.is_confuser)
        n2 = rng.choice(confusers, N_N2, replace=False)
        rest = np.setdiff1d(np.arange(N_GALAXIES), n2)
        n1 = rng.choice(rest, N_N1, replace=False)
        p_n2, p_n1 = N_N2 / len(confusers), N_N1 / len(rest)
        members = np.concatenate([n1, n2])
        probability = np.where(self.is_confuser[members], p_n2 + (1 - p_n2) * p_n1, p_n1)
        return members, np.repeat([False, True], [N_N1, N_N2]), probability


def drawn(survey: Survey, members: np.ndarray, probability: np.ndarray) -> Negatives:
    return Negatives(survey.score[members], probability, survey.cell[members])


def test_the_weighted_rate_is_the_surveys_where_those_of_the_draw_are_not_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(11)
    survey = Survey(rng)
    found, plain, n1_alone, n_covered = [], [], [], 0
    for _ in range(300):
        members, is_n2, probability = survey.draw(rng)
        rate = survey_fprs(drawn(survey, members, probability), [THRESHOLD], n_bootstrap=192, seed=1)[0]
        found.append(rate.value)
        detected = survey.score[members] >= THRESHOLD
        plain.append(detected.mean())
        n1_alone.append(detected[~is_n2].mean())
        n_covered += rate.lo <= survey.fpr <= rate.hi
    error = np.std(found) / np.sqrt(len(found))
    assert np.mean(found) == pytest.approx(survey.fpr, abs=3 * error)
    assert np.mean(plain) > survey.fpr + 20 * error
    assert np.mean(n1_alone) < survey.fpr - 3 * error  # the confusers that N2 took are missing
    assert 0.91 <= n_covered / 300 <= 0.985


def test_the_rate_and_effective_number_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    n = 500
    negatives = Negatives(rng.random(n), rng.uniform(0.05, 1, n), rng.integers(0, 60, n))
    for threshold, rate in zip((0.2, 0.7), survey_fprs(negatives, [0.2, 0.7], n_bootstrap=100), strict=True):
        total = above = squares = 0.0
        for score, p in zip(negatives.score, negatives.inclusion_probability, strict=True):
            total += 1 / p
            squares += 1 / p**2
            above += 1 / p if score >= threshold else 0
        assert rate.value == pytest.approx(above / total)
        assert rate.n_effective == pytest.approx(total**2 / squares)
        assert rate.n_exceedances == (negatives.score >= threshold).sum()
        assert rate.lo < rate.value < rate.hi
        assert rate.method == "bootstrap by sky cell"


def test_the_bootstrap_resamples_cells() -> None:
    """Ten copies of each galaxy in its cell tell no more than one."""
    rng = np.random.default_rng(3)
    one = Negatives(rng.random(300), rng.uniform(0.2, 1, 300), np.arange(300))
    ten = Negatives(*(getattr(one, name).repeat(10) for name in ("score", "inclusion_probability", "cell")))
    width, same = (rate.hi - rate.lo for rate in (survey_fprs(set_, [0.7])[0] for set_ in (one, ten)))
    assert same == pytest.approx(width, rel=1e-6)


@pytest.mark.parametrize("n_above", [0, 9])
def test_few_exceedances_take_wilsons_interval_at_the_effective_number(n_above: int) -> None:
    score = np.r_[np.full(n_above, 0.9), np.full(1_000 - n_above, 0.1)]
    rate = survey_fprs(Negatives(score, np.full(1_000, 0.25), np.arange(1_000)), [0.5])[0]
    lo, hi = wilson(n_above, 1_000)
    assert (rate.lo, rate.hi) == pytest.approx((float(lo), float(hi)))
    assert rate.hi > rate.value
    assert (rate.method, rate.n_effective) == ("wilson at the effective number", 1_000)


def test_negatives_without_a_probability_are_refused() -> None:
    for p in ([0.5, 0.0], [0.5, np.nan], [0.5, 1.1], []):
        negatives = Negatives(np.full(len(p), 0.3), np.array(p), np.zeros(len(p), int))
        with pytest.raises(AnalysisError, match="inclusion probabilities"):
            survey_fprs(negatives, [0.5])


def test_the_rates_of_a_model_are_written_once_for_the_splits_that_are_read(connection: Connection) -> None:
    model_id = model_of(connection)
    points = [
        {
            "model_id": model_id,
            "split": "val",
            "fpr_target": target,
            "threshold": t,
            "n_negatives": 9,
            "n_exceedances": 1,
        }
        for target, t in ((0.01, 0.5), (0.001, 0.999))
    ]
    connection.execute(insert(OperatingPoint), points)
    objects, _ = overconfident()
    assert replace_survey_rates(connection, model_id, objects) == 4
    assert replace_survey_rates(connection, model_id, objects) == 4
    rows = connection.execute(select(SurveyRate).order_by(SurveyRate.split)).all()
    assert [row.split for row in rows] == ["test", "test", "val", "val"]
    val = objects.where((objects.split == "val") & (objects.label == 0))
    weight = 1 / val.inclusion_probability
    truth = weight[val.score >= 0.5].sum() / weight.sum()
    assert rows[2].value == pytest.approx(truth)
    assert rows[2].n == len(val.score)
    assert replace_survey_rates(connection, model_id, objects.where(objects.split == "val")) == 2
    assert len(connection.execute(select(SurveyRate)).all()) == 4


def test_mined_negatives_and_draws_without_probabilities_have_no_rate_of_the_survey(connection: Connection) -> None:
    model_id = model_of(connection)
    point = {"fpr_target": 0.01, "threshold": 0.5, "n_negatives": 9, "n_exceedances": 1}
    connection.execute(insert(OperatingPoint).values(model_id=model_id, split="val", **point))
    objects, _ = overconfident(2_000)
    some = np.where(np.arange(2_000) % 2 == 0, objects.inclusion_probability, np.nan)
    replace_survey_rates(connection, model_id, replace(objects, inclusion_probability=some))
    n = connection.scalar(select(SurveyRate.n).where(SurveyRate.split == "test"))
    assert n == (np.isfinite(some) & (objects.label == 0) & (objects.split == "test")).sum()
    unknown = replace(objects, inclusion_probability=np.full(2_000, np.nan))
    assert replace_survey_rates(connection, model_id, unknown) == 0
    assert connection.scalar(select(SurveyRate.n)) is None
