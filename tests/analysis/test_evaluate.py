"""Evaluations: complete or refused, repeated only for a reason, and every reading of the test split counted."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from analysis.errors import NoScoresError
from analysis.evaluate import EvaluateConfig, evaluate_model
from analysis.report import read_report
from db.config import load_config
from db.errors import BusyError, ConfigError
from db.lock import only_one
from tests.conftest import Populated
from training.errors import ModelNotFoundError


def test_the_same_evaluation_again_reads_nothing(populated: Populated) -> None:
    again = evaluate_model(populated.engine, populated.model, EvaluateConfig())
    assert not again.was_evaluated
    assert again.n_test_accesses == 1


def test_each_reading_of_the_test_split_is_counted_and_changes_no_number(populated: Populated) -> None:
    before = read_report(populated.engine, populated.model).rows
    done = evaluate_model(populated.engine, populated.model, EvaluateConfig(), again=True)
    after = read_report(populated.engine, populated.model).rows
    assert done.n_test_accesses == 2
    assert {row["n_test_accesses"] for row in after["threshold_table"]} == {2}
    assert strip(after["threshold_table"]) == strip(before["threshold_table"])
    assert strip(after["model_metrics"]) == strip(before["model_metrics"])


def strip(rows: list[dict[str, object]]) -> list[tuple[tuple[str, object], ...]]:
    return sorted((tuple((k, v) for k, v in row.items() if k != "n_test_accesses") for row in rows), key=str)


def test_other_targets_are_evaluated_anew(populated: Populated) -> None:
    done = evaluate_model(populated.engine, populated.model, EvaluateConfig(fpr_targets=(0.05,)))
    assert done.was_evaluated
    targets = {row["fpr_target"] for row in read_report(populated.engine, populated.model).rows["threshold_table"]}
    assert targets == {0.05}


def test_a_quarantined_cutout_counts_no_more_and_makes_an_evaluation_stale(populated: Populated) -> None:
    counts = text("SELECT count(*) FROM results.scores WHERE model_name = 'tiny'")
    put = "INSERT INTO imaging.quarantine (cutout_id, reason, detail, run_id) "
    put += "SELECT c.cutout_id, 'altered', 'x', c.run_id "
    with populated.engine.begin() as connection:
        before = connection.scalar(counts)
        put += "FROM imaging.cutout c JOIN results.manifest m USING (cutout_id) WHERE m.split = 'test' AND m.label = 0 "
        connection.execute(text(put + "ORDER BY cutout_id LIMIT 3"))
        assert connection.scalar(counts) == before - 3
        for view in ("top_candidates", "false_positives", "false_negatives"):
            listed = f"SELECT count(*) FROM results.{view} JOIN imaging.quarantine USING (cutout_id)"
            assert connection.scalar(text(listed)) == 0
    done = evaluate_model(populated.engine, populated.model, EvaluateConfig())
    assert done.was_evaluated
    assert not evaluate_model(populated.engine, populated.model, EvaluateConfig()).was_evaluated


def test_a_half_scored_model_is_refused_and_keeps_its_results(populated: Populated) -> None:
    half = "DELETE FROM training.score s USING results.manifest m WHERE m.cutout_id = s.cutout_id AND m.split = 'test' "
    with populated.engine.begin() as connection:
        connection.execute(text(half + "AND s.cutout_id % 2 = 0"))
    before = read_report(populated.engine, populated.model).rows
    with pytest.raises(NoScoresError, match="cutouts of the test split have no score: run `stronglens score tiny`"):
        evaluate_model(populated.engine, populated.model, EvaluateConfig(), again=True)
    assert read_report(populated.engine, populated.model).rows == before


def test_newer_scores_make_an_evaluation_stale(populated: Populated) -> None:
    with populated.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE provenance.run SET finished_at = now() WHERE run_id IN (SELECT run_id FROM training.score "
                "WHERE model_id = (SELECT model_id FROM training.model WHERE name = 'tiny'))"
            )
        )
    assert evaluate_model(populated.engine, populated.model, EvaluateConfig()).was_evaluated


def test_two_evaluations_at_once_do_not_race(populated: Populated) -> None:
    with only_one(populated.engine, "the evaluation of model tiny"), pytest.raises(BusyError):
        evaluate_model(populated.engine, populated.model, EvaluateConfig(), again=True)


def test_a_model_that_is_not_there_is_named(populated: Populated) -> None:
    with pytest.raises(ModelNotFoundError, match="nope"):
        evaluate_model(populated.engine, "nope", EvaluateConfig())


@pytest.mark.parametrize(
    "rule",
    [{"fpr_targets": [0]}, {"fpr_targets": [2]}, {"fpr_targets": []}, {"fpr_targets": [0.01, 0.01]}, {"n_bootstrap": 0},
     {"seed": -1}],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_one_line(rule: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(rule))):
        load_config(EvaluateConfig, None, **rule)


def test_readers_may_read_the_results_and_nothing_else(populated: Populated) -> None:
    with populated.engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE stronglens_reader"))
        assert connection.scalar(text("SELECT count(*) FROM results.threshold_table")) == 6
        assert connection.scalar(text("SELECT version_num FROM public.alembic_version"))
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("SELECT count(*) FROM training.score"))
