"""Calibrations in the database: fitted on their own part, measured elsewhere, replaced as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.special import expit
from sklearn import metrics
from sqlalchemy import Connection, text

from analysis.calibration import CalibrateConfig, calibrate, probabilities
from analysis.evaluation.calibration_table import calibration_table, is_of_calibration
from analysis.intervals import wilson
from analysis.scores import ScoredObjects
from db.models.calibration import BINNINGS, CALIBRATION_METHODS
from tests.analysis.scored import model_of, overconfident
from tests.builders import insert_run
from tests.conftest import Populated
from training.calibrators import CALIBRATORS

CONFIG = CalibrateConfig(n_bootstrap=40, n_bootstrap_metrics=100)
METHODS = ("raw", "temperature", "platt", "isotonic")


def rows(connection: Connection, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(text(query)).mappings()]


def metric(connection: Connection, name: str, split: str = "val") -> float:
    query = text("SELECT value FROM results.model_metrics WHERE metric = :name AND split = :split")
    return float(connection.scalar(query, {"name": name, "split": split}))


def snapshot(connection: Connection) -> list[list[dict[str, Any]]]:
    views = ("evaluation.reliability_bin", "evaluation.metric", "results.calibrations")
    return [sorted(rows(connection, f"SELECT * FROM {view}"), key=str) for view in views]


def reliability_part(objects: ScoredObjects) -> np.ndarray:
    return (objects.split == "val") & ~objects.is_calibration


def test_calibrated_scores_are_reliable_on_cells_that_the_fit_never_saw(connection: Connection) -> None:
    model_id, (objects, truth) = model_of(connection), overconfident()
    assert calibrate(connection, model_id, objects, CONFIG, insert_run(connection)) == CALIBRATION_METHODS
    for split, chosen in (("val", reliability_part(objects)), ("test", objects.split == "test")):
        best = metrics.log_loss(objects.label[chosen], truth[chosen])
        for method in CALIBRATION_METHODS:
            assert metric(connection, f"ece_{method}", split) < 0.5 * metric(connection, "ece_raw", split)
            assert metric(connection, f"brier_skill_{method}", split) > metric(connection, "brier_skill_raw", split)
            assert metric(connection, f"log_loss_{method}", split) < best + 0.03
        assert metric(connection, "log_loss_raw", split) > best + 0.03
        assert metric(connection, "brier_raw", split) == pytest.approx(
            metrics.brier_score_loss(objects.label[chosen], objects.score[chosen])
        )
    fitted = {row["method"]: row for row in rows(connection, "SELECT * FROM results.calibrations")}
    assert fitted["temperature"]["temperature"] == pytest.approx(2, rel=0.1)
    assert fitted["platt"]["slope"] == pytest.approx(0.5, rel=0.1)
    assert fitted["isotonic"]["n_corners"] > 2


def test_what_is_fitted_is_fitted_on_the_calibration_part_alone(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    calibrate(connection, model_id, objects, CONFIG, insert_run(connection))
    part = objects.where(objects.is_calibration)
    for row in rows(connection, "SELECT * FROM evaluation.calibration"):
        truth = CALIBRATORS[row["method"]].fit(part.score, part.label).to_body()
        assert truth.items() <= row["body"].items()
        assert (row["n_positives"], row["n_negatives"]) == (part.label.sum(), (part.label == 0).sum())
        assert row["prevalence"] == pytest.approx(part.label.mean())
    measured = rows(connection, "SELECT DISTINCT n_positives, n_negatives FROM evaluation.metric WHERE split = 'val'")
    rest = objects.label[reliability_part(objects)]
    assert measured == [{"n_positives": rest.sum(), "n_negatives": (rest == 0).sum()}]


def test_positives_found_otherwise_and_held_out_ones_have_no_part_in_it(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    calibrate(connection, model_id, objects, CONFIG, insert_run(connection))
    before = snapshot(connection)
    positive = np.flatnonzero(objects.label == 1)[:40]
    more = ScoredObjects(**{name: np.concatenate([column, column[positive]]) for name, column in vars(objects).items()})
    more.discovery[-40:-20] = "hst"
    more.pool[-20:] = "held_out"
    calibrate(connection, model_id, more, CONFIG, insert_run(connection))
    assert snapshot(connection) == before


def test_bins_are_published_with_rate_and_interval_and_none_below_ten(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    calibrate(connection, model_id, objects, CONFIG, insert_run(connection))
    published = rows(connection, "SELECT * FROM results.reliability")
    assert {(r["split"], r["method"], r["binning"]) for r in published} == {
        (split, method, binning) for split in ("val", "test") for method in METHODS for binning in BINNINGS
    }
    for row in published:
        if row["n"] < 10:
            assert row["rate"] is row["rate_lo"] is row["interval_method"] is None
            continue
        lo, hi = wilson(row["k"], row["n"])
        assert row["rate"] == row["k"] / row["n"]
        assert (row["rate_lo"], row["rate_hi"]) == pytest.approx((float(lo), float(hi)))
    assert any(row["n"] < 10 for row in published)
    whole = [r for r in published if (r["split"], r["method"], r["binning"]) == ("test", "raw", "equal_mass")]
    assert sum(row["n"] for row in whole) == (objects.split == "test").sum()


def test_again_changes_nothing_and_a_shut_test_split_keeps_what_was_read(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    run_id = insert_run(connection)
    calibrate(connection, model_id, objects, CONFIG, run_id)
    before = snapshot(connection)
    calibrate(connection, model_id, objects, CONFIG, run_id)
    assert snapshot(connection) == before
    calibrate(connection, model_id, objects.where(objects.split == "val"), CONFIG, run_id)
    assert snapshot(connection) == before


def test_other_fits_take_old_measurements_with_them(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    calibrate(connection, model_id, objects, CONFIG, insert_run(connection))
    val = objects.where(objects.split == "val")
    calibrate(connection, model_id, replace(val, score=val.score**2), CONFIG, insert_run(connection))
    assert rows(connection, "SELECT DISTINCT split FROM results.reliability") == [{"split": "val"}]
    assert rows(connection, "SELECT DISTINCT split FROM evaluation.metric") == [{"split": "val"}]
    assert len(rows(connection, "SELECT * FROM results.calibrations")) == 3


def test_a_calibration_part_without_positives_leaves_raw_scores_and_no_probabilities(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(2_000)
    lacking = objects.where(~objects.is_calibration | (objects.label == 0))
    assert calibrate(connection, model_id, lacking, CONFIG, insert_run(connection)) == ()
    assert "lacks a class" in caplog.text
    assert rows(connection, "SELECT DISTINCT method FROM results.reliability") == [{"method": "raw"}]
    assert probabilities(connection, model_id, [0.5]) is None


def test_a_part_with_one_class_has_no_skill_but_a_log_loss(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(2_000)
    lacking = objects.where((objects.split == "val") & (objects.is_calibration | (objects.label == 0)))
    calibrate(connection, model_id, lacking, CONFIG, insert_run(connection))
    names = {row["name"] for row in rows(connection, "SELECT name FROM evaluation.metric")}
    assert "log_loss_raw" in names
    assert not any(name.startswith("brier_skill") for name in names)


def test_probabilities_hold_the_truth_and_their_interval_narrows_with_more_objects(connection: Connection) -> None:
    model_id = model_of(connection)
    scores = expit(2 * np.array([-6.0, -3, -1, 0, 2]))
    widths = []
    for n in (2_000, 32_000):
        objects, _ = overconfident(n)
        calibrate(
            connection,
            model_id,
            objects,
            CalibrateConfig(n_bootstrap=100, n_bootstrap_metrics=20),
            insert_run(connection),
        )
        found = probabilities(connection, model_id, scores)
        assert found is not None
        p, lo, hi = found
        assert ((lo <= p) & (p <= hi)).all()
        assert ((lo < expit([-6, -3, -1, 0, 2])) & (expit([-6, -3, -1, 0, 2]) < hi)).mean() >= 0.6
        widths.append(hi - lo)
    assert (widths[1] < 0.6 * widths[0]).all()


def test_probabilities_move_with_the_prevalence_by_bayes_rule(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    calibrate(connection, model_id, objects, CONFIG, insert_run(connection))
    drawn = objects.label[objects.is_calibration].mean()
    here, sky = (probabilities(connection, model_id, [0.01, 0.5, 0.99], at) for at in (None, 1e-4))
    assert here is not None
    assert sky is not None
    for p, shifted in zip(here, sky, strict=True):
        odds = p / (1 - p) * (1e-4 / (1 - 1e-4)) / (drawn / (1 - drawn))
        np.testing.assert_allclose(shifted, odds / (1 + odds), rtol=1e-9)
    none = probabilities(connection, model_id, [])
    assert none is not None
    assert [len(end) for end in none] == [0, 0, 0]


def test_the_table_has_a_row_for_each_method_and_split(connection: Connection) -> None:
    model_id, (objects, _) = model_of(connection), overconfident(4_000)
    calibrate(connection, model_id, objects, CONFIG, insert_run(connection))
    metrics_ = rows(connection, "SELECT * FROM results.model_metrics")
    assert all(is_of_calibration(row["metric"]) for row in metrics_)
    table = calibration_table(metrics_)
    assert table is not None
    with (console := Console(width=120)).capture() as printed:
        console.print(table)
    lines = [line.split() for line in printed.get().splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["val"], ["test"])] == [
        [split, method] for split in ("val", "test") for method in METHODS
    ]
    row = next(line for line in lines if line[:2] == ["test", "platt"])
    assert row[4] == f"{metric(connection, 'ece_platt', 'test'):.4g}"
    assert row[8] == f"{metric(connection, 'log_loss_platt', 'test'):.4g}"
    assert not is_of_calibration("auc_tier_a")
    assert calibration_table([]) is None


def test_an_evaluation_calibrates_and_weighs_the_rates_of_the_survey(populated: Populated) -> None:
    with populated.engine.connect() as connection:
        scores = rows(connection, f"SELECT * FROM results.scores WHERE model_name = '{populated.model}'")
        rates = rows(connection, "SELECT * FROM results.survey_rates")
        fitted = rows(connection, "SELECT * FROM results.calibrations")
        bins = rows(connection, "SELECT * FROM results.reliability WHERE binning = 'equal_mass' AND method = 'raw'")
        manifest = {row["cutout_id"] for row in rows(connection, "SELECT cutout_id FROM results.manifest")}
    scores = [row for row in scores if row["cutout_id"] in manifest]
    assert {row["model_name"] for row in rates} == {row["model_name"] for row in fitted} == {populated.model}
    assert {row["split"] for row in rates} == {row["split"] for row in bins} == {"val", "test"}
    for row in rates:
        negatives = [s for s in scores if s["split"] == row["split"] and s["inclusion_probability"] is not None]
        weights = [1 / s["inclusion_probability"] for s in negatives]
        above = [w for w, s in zip(weights, negatives, strict=True) if s["score"] >= row["threshold"]]
        assert row["fpr"] == pytest.approx(sum(above) / sum(weights))
        assert (row["n_negatives"], row["n_exceedances"]) == (len(negatives), len(above))
    headline = [s for s in scores if s["label"] == 0 or s["discovery"] == "ground_imaging"]
    part = [s for s in headline if s["is_calibration"]]
    assert {row["n_positives"] + row["n_negatives"] for row in fitted} == {len(part)}
    for split in ("val", "test"):
        measured = [s for s in headline if s["split"] == split and not s["is_calibration"]]
        own = [row for row in bins if row["split"] == split]
        assert sum(row["n"] for row in own) == len(measured)
        assert sum(row["k"] for row in own) == sum(s["label"] for s in measured)
