"""Evaluations of revision 0021, which read both splits at once, after the upgrade to 0022."""

from __future__ import annotations

from sqlalchemy import Engine, text

from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
from db import migrate

QUICK = EvaluateConfig(fpr_targets=(0.05,), n_bootstrap=20)
STATE = "SELECT split, run_id FROM evaluation.evaluated_split ORDER BY split"


def test_old_results_stay_published_and_are_not_read_again(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    evaluate_model(sky_engine, "m1", QUICK, test_reason="second", again=True)
    tables = {
        "tally": "evaluation.tally WHERE sample <> 'tier_ab_graded'",
        "metric": "evaluation.metric",
        "readings": "evaluation.test_access",
    }
    with sky_engine.connect() as connection:
        before = {name: connection.scalar(text(f"SELECT count(*) FROM {table}")) for name, table in tables.items()}
        state = connection.execute(text(STATE)).all()
    migrate.downgrade(sky_engine, "0021")
    migrate.upgrade(sky_engine)
    with sky_engine.connect() as connection:
        assert connection.execute(text(STATE)).all() == state
        assert len(state) == 2
        after = {name: connection.scalar(text(f"SELECT count(*) FROM {table}")) for name, table in tables.items()}
    assert after == before
    done = evaluate_model(sky_engine, "m1", QUICK)
    assert not done.was_evaluated
    assert done.about_test.endswith("(second), not read again; 2 readings on record")


def test_the_way_down_forgets_what_the_older_schema_has_no_words_for(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK)
    with sky_engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO evaluation.tally (operating_point_id, split, sample, k, n) "
                "SELECT operating_point_id, 'val', 'held_out', 1, 2 FROM evaluation.operating_point"
            )
        )
    migrate.downgrade(sky_engine, "0021")
    with sky_engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM evaluation.tally WHERE sample = 'held_out'")) == 0
        assert connection.scalar(text("SELECT count(*) FROM evaluation.tally")) > 0
        assert connection.scalar(text("SELECT to_regclass('results.recall_by_condition')")) is None
    migrate.upgrade(sky_engine)
