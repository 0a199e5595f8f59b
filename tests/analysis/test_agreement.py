"""How models agree: measures against tables worked by hand, the stage and its views against a recount in pandas."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.special import expit, logit
from scipy.stats import binomtest
from sqlalchemy import Engine, text

from analysis.agreement import compare_models
from analysis.agreement_report import read_agreement, render_agreement
from analysis.diversity import Pairing, rank_correlation
from analysis.errors import AnalysisError, NoScoresError, ReasonMissingError
from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
from tests.analysis.scored_sky import insert_scores, scored_sky
from tests.etl.draw_world import insert_model
from training.ensemble.make import EnsembleConfig, make_ensemble
from training.errors import ModelNotFoundError

TARGETS = (0.1, 0.01)
CONFIG = EvaluateConfig(fpr_targets=TARGETS, n_bootstrap=20)


def test_the_measures_of_a_table_worked_by_hand() -> None:
    # 60 both right, 15 and 5 only one, 20 neither: cross product 60 x 20 - 15 x 5 = 1,125.
    table = Pairing(60, 15, 5, 20)
    assert (table.n, table.n_a_right, table.n_b_right, table.n_either_right) == (100, 75, 65, 80)
    assert table.q_statistic == pytest.approx(1125 / 1275)
    assert table.error_correlation == pytest.approx(1125 / np.sqrt(75 * 25 * 65 * 35))
    assert table.disagreement == pytest.approx(0.20)


def test_counts_and_phi_are_those_of_the_masks() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(400) < 0.7
    b = np.where(rng.random(400) < 0.5, a, rng.random(400) < 0.6)
    table = Pairing.count(a, b)
    crossed = pd.crosstab(a, b)
    assert (table.n_both_right, table.n_both_wrong) == (crossed.loc[True, True], crossed.loc[False, False])
    assert (table.n_only_a_right, table.n_only_b_right) == (crossed.loc[True, False], crossed.loc[False, True])
    assert table.error_correlation == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert table.disagreement == pytest.approx((a != b).mean())


def test_models_that_err_alike_apart_and_independently_are_told_apart() -> None:
    alike, apart, independent = Pairing(70, 0, 0, 30), Pairing(0, 50, 50, 0), Pairing(56, 14, 24, 6)
    assert (alike.error_correlation, alike.q_statistic) == (pytest.approx(1), 1)
    assert (apart.error_correlation, apart.q_statistic) == (pytest.approx(-1), -1)
    assert (independent.error_correlation, independent.q_statistic) == (0, 0)


def test_what_is_not_defined_is_none() -> None:
    for table in (Pairing(100, 0, 0, 0), Pairing(90, 10, 0, 0), Pairing(0, 0, 0, 0)):
        assert table.error_correlation is None
        assert table.q_statistic is None
    assert Pairing(0, 0, 0, 0).disagreement is None
    assert rank_correlation(np.array([0.1, 0.1, 0.1]), np.array([0.1, 0.2, 0.3])) is None
    assert rank_correlation(np.array([0.1]), np.array([0.1])) is None
    big = Pairing(2_000_000_000, 100_000_000, 100_000_000, 2_000_000_000)
    assert big.error_correlation == pytest.approx(0.9048, abs=1e-4)


@dataclass(frozen=True)
class Sky:
    """The members of a survey with the scores of two models, `one` and `two`."""

    members: pd.DataFrame


@pytest.fixture
def sky(engine: Engine) -> Sky:
    """Two models with scores, both evaluated on val."""
    made = scored_sky(engine)
    rng = np.random.default_rng(11)
    rows = made.members
    other = expit(0.6 * logit(rows.score.clip(0.001, 0.999)) + rng.normal(0.3, 0.8, len(rows)))
    with engine.begin() as connection:
        model_id = insert_model(connection, draw="d", name="m2")
        connection.execute(
            text(
                "UPDATE training.model SET config_sha256 = (SELECT config_sha256 FROM training.model WHERE name = 'm1')"
            )
        )
        insert_scores(connection, model_id, rows.assign(score=other))
    for name in ("m1", "m2"):
        evaluate_model(engine, name, CONFIG)
    return Sky(rows.assign(one=rows.score, two=other))


def read(engine: Engine, statement: str) -> pd.DataFrame:
    with engine.connect() as connection:
        found = connection.execute(text(statement))
        return pd.DataFrame(found.all(), columns=list(found.keys()))


def recount(engine: Engine, sky: Sky, split: str) -> pd.DataFrame:
    """Counts of m1 against m2 from the members and the thresholds alone."""
    points = read(engine, "SELECT m.name, o.* FROM evaluation.operating_point o JOIN training.model m USING (model_id)")
    rows = sky.members[sky.members.split == split]
    found = []
    for target, (sample, is_positive) in itertools.product(TARGETS, (("positives", True), ("negatives", False))):
        here = rows[(rows.label == 1) & (rows.discovery == "ground_imaging")] if is_positive else rows[rows.label == 0]
        at = points[points.fpr_target == target].set_index("name").threshold
        a, b = ((here[column] >= at[name]) == is_positive for column, name in (("one", "m1"), ("two", "m2")))
        found.append(
            {
                "fpr_target": target,
                "sample": sample,
                "n_both_right": (a & b).sum(),
                "n_only_a_right": (a & ~b).sum(),
                "n_only_b_right": (~a & b).sum(),
                "n_both_wrong": (~a & ~b).sum(),
                "error_correlation": a.astype(float).corr(b.astype(float)),
                "score_correlation": here.one.corr(here.two, method="spearman"),
            }
        )
    return pd.DataFrame(found).set_index(["fpr_target", "sample"]).sort_index()


def published(engine: Engine, split: str) -> pd.DataFrame:
    rows = read(engine, f"SELECT * FROM results.model_diversity WHERE split = '{split}'")
    return rows.set_index(["fpr_target", "sample"]).sort_index()


def test_models_are_compared_at_their_own_thresholds_on_the_same_objects(engine: Engine, sky: Sky) -> None:
    done = compare_models(engine, ["m2", "m1"])
    assert (done.model_names, done.n_compared) == (("m1", "m2"), 1)
    found, wanted = published(engine, "val"), recount(engine, sky, "val")
    assert found.index.equals(wanted.index)
    for name in wanted.columns:
        np.testing.assert_allclose(found[name].astype(float), wanted[name].astype(float), atol=1e-12, err_msg=name)
    n = wanted.filter(like="n_").sum(axis=1)
    np.testing.assert_array_equal(found.n, n)
    either = n - wanted.n_both_wrong
    for key, row in found.iterrows():
        assert row.double_fault == pytest.approx(wanted.n_both_wrong[key] / n[key])
        assert row.disagreement == pytest.approx((wanted.n_only_a_right + wanted.n_only_b_right)[key] / n[key])
        by_scipy = binomtest(int((wanted.n_both_right + wanted.n_only_a_right)[key]), int(n[key]))
        ends = by_scipy.proportion_ci(method="wilson")
        assert (row.share_a_right_lo, row.share_a_right_hi) == pytest.approx((ends.low, ends.high))
        if key[1] == "positives":
            assert row.oracle_recall == pytest.approx(either[key] / n[key])
            assert row.oracle_recall >= max(row.share_a_right, row.share_b_right)
        else:
            assert np.isnan(float(row.oracle_recall or np.nan))
    # The thresholds were chosen for the same rate on val: about as many negatives are wrong for either model.
    negatives = found.xs("negatives", level="sample")
    assert (1 - negatives.share_a_right <= negatives.index).all()
    assert (1 - negatives.share_b_right <= negatives.index).all()


def test_the_test_split_is_read_for_a_reason_and_each_reading_counted(engine: Engine, sky: Sky) -> None:
    accesses = (
        "SELECT m.name, a.purpose FROM evaluation.test_access a JOIN training.model m USING (model_id) ORDER BY 1"
    )
    compare_models(engine, ["m1", "m2"])
    assert len(read(engine, accesses)) == 0
    assert len(published(engine, "test")) == 0
    with pytest.raises(ReasonMissingError, match="blank"):
        compare_models(engine, ["m1", "m2"], test_reason=" ")
    compare_models(engine, ["m1", "m2"], test_reason="the paper's table")
    assert read(engine, accesses).to_numpy().tolist() == [
        ["m1", "agreement: the paper's table"],
        ["m2", "agreement: the paper's table"],
    ]
    wanted = recount(engine, sky, "test")
    np.testing.assert_array_equal(published(engine, "test").n_only_b_right, wanted.n_only_b_right)
    assert set(published(engine, "val").n_test_accesses_a) == {1}
    shown = io.StringIO()
    Console(file=shown, width=160).print(render_agreement(read_agreement(engine, [1, 2])))
    assert shown.getvalue().count("; test read: m1 once, m2 once") == 2
    assert not evaluate_model(engine, "m1", CONFIG).was_evaluated  # an agreement leaves evaluations current


def test_a_repetition_changes_nothing_and_new_thresholds_or_scores_are_compared_anew(engine: Engine, sky: Sky) -> None:
    counted = "SELECT (SELECT count(*) FROM provenance.run), (SELECT max(run_id) FROM evaluation.diversity)"
    compare_models(engine, ["m1", "m2"], test_reason="once")
    before = read(engine, counted).to_numpy().tolist()
    assert compare_models(engine, ["m1", "m2"], test_reason="twice").n_compared == 0
    assert read(engine, counted).to_numpy().tolist() == before
    assert compare_models(engine, ["m1", "m2"], again=True).n_compared == 1
    evaluate_model(engine, "m1", EvaluateConfig(fpr_targets=(0.1, 0.03), n_bootstrap=20))
    assert set(published(engine, "val").reset_index().fpr_target) == {0.1}  # what changed is published no more
    assert compare_models(engine, ["m1", "m2"]).n_compared == 1
    assert set(published(engine, "val").reset_index().fpr_target) == {0.1}
    with engine.begin() as connection:
        connection.execute(text("UPDATE provenance.run SET finished_at = clock_timestamp() WHERE command = 'test'"))
    assert compare_models(engine, ["m1", "m2"]).n_compared == 1


def test_models_that_cannot_be_compared_are_refused(engine: Engine, sky: Sky) -> None:
    with engine.begin() as connection:
        insert_model(connection, draw="d", name="bare")
        control = insert_model(connection, draw="d", name="control")
        connection.execute(text(f"UPDATE training.model SET is_label_shuffled = true WHERE model_id = {control}"))
        other = insert_model(connection, draw="d", name="elsewhere")
        connection.execute(text(f"UPDATE training.model SET cutout_version = 'v2' WHERE model_id = {other}"))
    for names, error, words in (
        (["m1"], AnalysisError, "1 model to compare: name two or more"),
        (["m1", "m1"], AnalysisError, "1 model to compare"),
        (["m1", "bare"], NoScoresError, "model bare was not evaluated: run `stronglens evaluate bare` first"),
        (["m1", "control"], AnalysisError, "model control is a control"),
        (["m1", "elsewhere"], AnalysisError, "m1 and elsewhere differ in cutout_version"),
        (["m1", "ghost"], ModelNotFoundError, "'ghost' is not there"),
    ):
        with pytest.raises(error, match=words):
            compare_models(engine, names)
    evaluate_model(engine, "m2", EvaluateConfig(fpr_targets=(0.2,), n_bootstrap=20))
    with pytest.raises(AnalysisError, match="no false-positive rate in common"):
        compare_models(engine, ["m1", "m2"])


def test_few_objects_have_counts_and_no_shares(engine: Engine, sky: Sky) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE catalog.lens SET discovery = 'hst' WHERE lens_id NOT IN (SELECT lens_id FROM results.scores "
                "WHERE split = 'val' AND label = 1 AND discovery = 'ground_imaging' ORDER BY lens_id LIMIT 18)"
            )
        )
    compare_models(engine, ["m1", "m2"])
    few = published(engine, "val").xs("positives", level="sample")
    assert set(few.n) == {9}
    shares = ["share_a_right", "share_a_right_lo", "oracle_recall", "error_correlation", "q_statistic", "disagreement"]
    assert few[shares].isna().all().all()
    assert (few.n_both_right + few.n_only_a_right + few.n_only_b_right + few.n_both_wrong == 9).all()


def test_every_object_and_model_stands_in_the_view_with_its_detection_and_rank(engine: Engine, sky: Sky) -> None:
    rows = read(engine, "SELECT * FROM results.model_agreement WHERE model_name = 'm2'")
    assert len(rows) == len(sky.members) * len(TARGETS)
    wanted = sky.members.set_index("cutout_id")
    for _, part in rows.groupby("fpr_target"):
        mine = wanted.loc[part.cutout_id]
        np.testing.assert_array_equal(part.score, mine.two)
        np.testing.assert_array_equal(part.is_detected.astype(bool), mine.two >= part.threshold.iloc[0])
        np.testing.assert_array_equal(part.label, mine.label)
        np.testing.assert_array_equal(part.split, mine.split)
        rank = mine.groupby("split").two.rank(method="first", ascending=False)
        np.testing.assert_array_equal(part.rank_in_split, rank)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM evaluation.operating_point"))
    bare = read(engine, "SELECT * FROM results.model_agreement WHERE model_name = 'm1'")
    assert len(bare) == len(sky.members)
    assert bare.fpr_target.isna().all()
    for asked, scanned in (("model_id = 1", "(model_id = 1)"), ("model_name = 'm1'", "(name = 'm1'")):
        with engine.connect() as connection:  # ranks are counted of the models that are asked for, not of all
            query = f"EXPLAIN SELECT * FROM results.model_agreement WHERE {asked}"
            plan = "\n".join(connection.scalars(text(query)).all())
        above, _, below = plan.partition("WindowAgg")
        assert scanned in below, plan
        assert "Filter" not in above, plan


def test_an_ensemble_is_evaluated_compared_and_listed_like_any_model(
    engine: Engine, sky: Sky, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    made = make_ensemble(engine, EnsembleConfig(name="both", members=("m1", "m2"), method="stacking"))
    assert made.n_scored == len(sky.members)
    assert evaluate_model(engine, "both", CONFIG).evaluated == ("val",)
    assert compare_models(engine, ["both", "m1", "m2"]).n_compared == 3
    done = run_cli("agreement", "m1", "m2", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["model_diversity"]) == 4
    rows = read_agreement(engine, [1, 2, made.model_id])
    assert len(rows) == 12
    shown = io.StringIO()
    Console(file=shown, width=160).print(render_agreement(rows))
    assert "; test read" not in shown.getvalue()
    for row in rows:
        assert f"{row['model_a_name']}, {row['model_b_name']}" in shown.getvalue()
        assert f"{row['error_correlation']:.3f}" in shown.getvalue()
        assert row["sample"] == "negatives" or f"{row['oracle_recall']:.3f}" in shown.getvalue()
    done = run_cli("agreement", "m1")
    assert (done.returncode, done.stderr) == (1, "error: 1 model to compare: name two or more\n")

    models = read(engine, "SELECT * FROM results.models").set_index("model_name")
    row = models.loc["both"]
    assert (row.kind, row.architecture, row.status, row.draw_name, row.scheme_name) == (
        "ensemble", "stacking", "succeeded", "d", "default",
    )  # fmt: skip
    assert row.members == ["m1", "m2"]
    assert row.member_coefficients == pytest.approx(list(made.coefficients))
    assert row.n_combined_on == made.n_fitted_on > 0
    assert models.loc["m1"].members == []
    assert models.loc["m1"].kind == "network"
    with engine.connect() as connection:
        plan = "\n".join(connection.scalars(text("EXPLAIN SELECT * FROM results.models")).all())
    assert "epoch" in plan
    assert " score" not in plan
