"""Evaluations: complete or refused, repeated only for a reason, the test split locked and every reading counted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from analysis.errors import NoScoresError, ReasonMissingError
from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
from analysis.report import read_report
from db.config import load_config
from db.errors import BusyError, ConfigError
from db.lock import only_one
from tests.analysis.scored_sky import ScoredSky, insert_scores
from tests.builders import insert_galaxies, insert_lenses, insert_run
from tests.conftest import Populated, RunCli
from training.control import control_manifest
from training.errors import ModelNotFoundError
from training.manifest import read_manifest
from training.registry import find_model

QUICK = EvaluateConfig(fpr_targets=(0.05, 0.01), n_bootstrap=20)
CUTOUT = (
    "INSERT INTO imaging.cutout (survey, data_release, lens_id, ls_id, ra, dec, version, layer, source, brickname, "
    "uri, sha256, n_bytes, bands, n_pixels, pixel_scale_arcsec, nan_fraction, status, run_id) VALUES ('dr10', 10, "
    ":lens, :galaxy, :ra, :dec, 'v1', 'ls-dr10-south', 'coadd', '0001p000', :uri, md5(:uri), 1, 'grz', 101, 0.262, 0, "
    "'ok', :run) RETURNING cutout_id"
)
HELD_OUT = "INSERT INTO evaluation.held_out (draw_id, lens_id, run_id) SELECT draw_id, :lens, :run FROM training.model"
BY_SPLIT = (
    "SELECT split FROM evaluation.metric UNION SELECT split FROM evaluation.tally UNION "
    "SELECT split FROM evaluation.condition_tally UNION SELECT split FROM evaluation.evaluated_split"
)


def scalars(engine: Engine, statement: str) -> list[object]:
    with engine.connect() as connection:
        return list(connection.scalars(text(statement)))


def change(engine: Engine, statement: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def numbers(engine: Engine, *splits: str) -> list[tuple[tuple[str, object], ...]]:
    """What the views say of some splits, apart from how often the test split was read."""
    rows = [
        row for view in read_report(engine, "m1").rows.values() for row in view if row.get("split", "val") in splits
    ]
    return sorted((tuple((k, v) for k, v in row.items() if k != "n_test_accesses") for row in rows), key=str)


def rescore(engine: Engine, split: str) -> None:
    """Give the members of a split other scores, by a later run."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE training.score s SET score = 1 - s.score, run_id = :run FROM results.manifest m "
                "WHERE m.cutout_id = s.cutout_id AND m.split = :split"
            ),
            {"run": insert_run(connection), "split": split},
        )


def test_without_a_reason_nothing_of_the_test_split_is_read(sky_engine: Engine) -> None:
    change(
        sky_engine,
        "DELETE FROM training.score s USING results.scores r WHERE r.cutout_id = s.cutout_id AND r.split = 'test'",
    )
    done = evaluate_model(sky_engine, "m1", QUICK)
    assert done.evaluated == ("val",)
    assert done.n_test_accesses == 0
    assert set(scalars(sky_engine, BY_SPLIT)) == {"val"}
    assert done.about_test == "test split: no result of it is published; 0 readings on record; --test REASON reads it"
    with pytest.raises(NoScoresError, match="cutouts of the test split have no score: run `stronglens score m1`"):
        evaluate_model(sky_engine, "m1", QUICK, test_reason="final numbers")
    assert scalars(sky_engine, "SELECT count(*) FROM evaluation.test_access") == [0]


def test_a_reading_is_recorded_with_its_reason_and_shown_again_without_another(sky_engine: Engine) -> None:
    done = evaluate_model(sky_engine, "m1", QUICK, test_reason="final numbers")
    assert done.evaluated == ("val", "test")
    assert done.about_test == "test split: read now (final numbers); 1 reading on record"
    before = numbers(sky_engine, "val", "test")
    for again in (
        evaluate_model(sky_engine, "m1", QUICK, test_reason="once more"),
        evaluate_model(sky_engine, "m1", QUICK),
    ):
        assert not again.was_evaluated
        assert again.about_test.startswith("test split: as read on 20")
        assert again.about_test.endswith("(final numbers), not read again; 1 reading on record")
    assert numbers(sky_engine, "val", "test") == before
    assert scalars(sky_engine, "SELECT purpose FROM evaluation.test_access") == ["final numbers"]
    assert {row["n_test_accesses"] for row in read_report(sky_engine, "m1").rows["recall_by_condition"]} == {1}


def test_each_reading_of_the_test_split_is_counted_and_changes_no_number(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    before = numbers(sky_engine, "val", "test")
    done = evaluate_model(sky_engine, "m1", QUICK, test_reason="second", again=True)
    assert done.n_test_accesses == 2
    assert {row["n_test_accesses"] for row in read_report(sky_engine, "m1").rows["threshold_table"]} == {2}
    assert numbers(sky_engine, "val", "test") == before


def test_val_can_be_evaluated_again_and_leaves_the_test_results_alone(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    before = numbers(sky_engine, "test")
    done = evaluate_model(sky_engine, "m1", EvaluateConfig(fpr_targets=(0.05, 0.01), n_bootstrap=30))
    assert done.evaluated == ("val",)
    assert not done.is_test_dropped
    assert numbers(sky_engine, "test") == before
    assert done.n_test_accesses == 1


@pytest.mark.parametrize("changed", ["val", "test", "targets", "manifest"])
def test_test_results_of_other_thresholds_scores_or_cutouts_are_not_shown(sky_engine: Engine, changed: str) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    config = QUICK
    if changed == "targets":
        config = EvaluateConfig(fpr_targets=(0.02,), n_bootstrap=20)
    elif changed == "manifest":
        change(
            sky_engine,
            "INSERT INTO imaging.quarantine (cutout_id, reason, detail, run_id) SELECT m.cutout_id, 'altered', 'x', "
            "c.run_id FROM results.manifest m JOIN imaging.cutout c USING (cutout_id) WHERE m.split = 'test' LIMIT 3",
        )
    else:
        rescore(sky_engine, changed)
    done = evaluate_model(sky_engine, "m1", config)
    assert done.is_test_dropped
    assert "are gone; 1 reading on record" in done.about_test
    assert set(scalars(sky_engine, BY_SPLIT)) == {"val"}
    again = evaluate_model(sky_engine, "m1", config, test_reason="after the change")
    assert again.n_test_accesses == 2
    assert set(scalars(sky_engine, BY_SPLIT)) == {"val", "test"}


def test_scores_of_other_cutouts_drop_no_test_results(sky_engine: Engine, sky: ScoredSky) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    before = numbers(sky_engine, "val", "test")
    with sky_engine.begin() as connection:
        key = insert_galaxies(connection, [200.0], [10.0])
        values = {"lens": None, "galaxy": int(key[0]), "ra": 200, "dec": 10, "uri": "y", "run": insert_run(connection)}
        cutout = connection.scalar(text(CUTOUT), values)
        insert_scores(connection, sky.model_id, sky.members.head(1).assign(cutout_id=cutout))
    done = evaluate_model(sky_engine, "m1", QUICK)
    assert done.evaluated == ("val",)
    assert not done.is_test_dropped
    assert numbers(sky_engine, "val", "test") == before


def test_thresholds_do_not_depend_on_the_test_split(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    points = (
        "SELECT operating_point_id || ' ' || fpr_target || ' ' || threshold FROM evaluation.operating_point ORDER BY 1"
    )
    before = scalars(sky_engine, points)
    rescore(sky_engine, "test")
    evaluate_model(sky_engine, "m1", QUICK, test_reason="second")
    assert scalars(sky_engine, points) == before


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_blank_reason_is_none(sky_engine: Engine, reason: str) -> None:
    with pytest.raises(ReasonMissingError, match="say why"):
        evaluate_model(sky_engine, "m1", QUICK, test_reason=reason)
    assert scalars(sky_engine, "SELECT count(*) FROM evaluation.operating_point") == [0]


def test_a_half_scored_model_is_refused_and_keeps_its_results(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK, test_reason="first")
    before = numbers(sky_engine, "val", "test")
    change(
        sky_engine,
        "DELETE FROM training.score s USING results.manifest m WHERE m.cutout_id = s.cutout_id AND m.split = 'test' "
        "AND s.cutout_id % 2 = 0",
    )
    with pytest.raises(NoScoresError, match="cutouts of the test split have no score: run `stronglens score m1`"):
        evaluate_model(sky_engine, "m1", QUICK, test_reason="second", again=True)
    assert numbers(sky_engine, "val", "test") == before
    assert scalars(sky_engine, "SELECT count(*) FROM evaluation.test_access") == [1]


def test_a_member_that_the_guard_dropped_does_not_count_although_it_has_a_score(
    sky_engine: Engine, sky: ScoredSky
) -> None:
    change(
        sky_engine,
        "INSERT INTO sampling.guard_drop (scheme_id, member_id, nearest_member_id, separation_arcsec) "
        "SELECT x.scheme_id, m.member_id, m.member_id, 1 FROM sampling.split_scheme x, sampling.draw_member m "
        "JOIN sampling.split_cell c USING (healpix_128) WHERE m.label = 0 AND c.split = 'val' ORDER BY 2 LIMIT 7",
    )
    evaluate_model(sky_engine, "m1", QUICK)
    n_val = int(((sky.members.split == "val") & (sky.members.label == 0)).sum())
    assert scalars(sky_engine, "SELECT DISTINCT n FROM evaluation.tally WHERE sample = 'negatives'") == [n_val - 7]
    assert scalars(sky_engine, "SELECT DISTINCT n_negatives FROM evaluation.metric WHERE name = 'auc'") == [n_val - 7]


def test_an_ensemble_is_evaluated_as_any_model(sky_engine: Engine, sky: ScoredSky) -> None:
    with sky_engine.begin() as connection:
        copied = connection.scalar(
            text(
                "INSERT INTO training.model (name, kind, survey, draw_id, scheme_id, cutout_version, architecture, "
                "n_parameters, config_sha256, manifest_sha256, n_train, n_val, status, run_id) "
                "SELECT 'both', 'ensemble', survey, draw_id, scheme_id, cutout_version, 'average', 2, "
                "(SELECT config_sha256 FROM provenance.run "
                "LIMIT 1), manifest_sha256, 1, 1, 'succeeded', run_id FROM training.model RETURNING model_id"
            )
        )
        insert_scores(connection, copied, sky.members)
    for name in ("m1", "both"):
        evaluate_model(sky_engine, name, QUICK, test_reason="comparison")
    one, both = (
        [
            {k: v for k, v in row.items() if not k.startswith("model_")}
            for row in read_report(sky_engine, name).rows[view]
        ]
        for name in ("m1", "both")
        for view in ("threshold_table",)
    )
    assert sorted(map(str, both)) == sorted(map(str, one))


def test_a_control_is_held_against_the_labels_that_it_was_dealt(sky_engine: Engine, sky: ScoredSky) -> None:
    change(sky_engine, "UPDATE training.model SET is_label_shuffled = true")
    with pytest.raises(NoScoresError, match="the manifest changed since it was trained"):
        evaluate_model(sky_engine, "m1", QUICK)
    found = find_model(sky_engine, "m1")
    digest = read_manifest(sky_engine, found.draw_id, found.scheme_id, found.cutout_version).digest()
    change(sky_engine, f"UPDATE training.model SET manifest_sha256 = '{digest}'")
    evaluate_model(sky_engine, "m1", QUICK)
    rows = {row["metric"]: row for row in read_report(sky_engine, "m1").rows["model_metrics"]}
    assert {"auc", "partial_auc", "tpr0"} <= set(rows)
    assert not any("tier" in name for name in rows)
    dealt = control_manifest(sky_engine, find_model(sky_engine, "m1"))
    on_val = dealt.split == "val"
    assert rows["auc"]["n_positives"] == int(dealt.label[on_val].sum())
    scores = sky.members.set_index("cutout_id").score.reindex(dealt.cutout_id[on_val]).to_numpy()
    label = dealt.label[on_val]
    wins = (scores[label == 1][:, None] > scores[label == 0]) + 0.5 * (
        scores[label == 1][:, None] == scores[label == 0]
    )
    assert rows["auc"]["value"] == pytest.approx(wins.mean())
    assert scalars(sky_engine, "SELECT count(*) FROM evaluation.operating_point") == [0]


def test_a_model_of_half_the_sky_is_also_counted_on_the_half_it_never_saw(sky_engine: Engine, sky: ScoredSky) -> None:
    """The fixture's model was trained on good seeing."""
    evaluate_model(sky_engine, "m1", QUICK)
    rows = [row for row in read_report(sky_engine, "m1").rows["recall_by_condition"] if row["axis"] == "domain"]
    known = sky.members[(sky.members.label == 1) & (sky.members.split == "train") & sky.members.is_matched]
    median = np.median(known.psf_fwhm_z_arcsec)
    on_val = sky.members[(sky.members.label == 0) & (sky.members.split == "val")]
    found = {row["bin"]: row["n"] for row in rows if row["sample"] == "negatives" and row["fpr_target"] == 0.01}
    n_trained = int((on_val.psf_fwhm_z_arcsec <= median).sum())
    assert found == {"trained half": n_trained, "unseen half": len(on_val) - n_trained}


def test_held_out_discoveries_are_counted_apart(sky_engine: Engine, sky: ScoredSky) -> None:
    with sky_engine.begin() as connection:
        at = sky.members[sky.members.label == 0].groupby("split").head(12)
        lenses = insert_lenses(connection, at.ra, at.dec, [None] * len(at))
        run = insert_run(connection)
        for lens, row in zip(lenses, at.itertuples(), strict=True):
            values = {"lens": lens, "galaxy": None, "ra": row.ra, "dec": row.dec, "uri": f"held{lens}", "run": run}
            connection.execute(text(HELD_OUT), values)
            own = at[at.cutout_id == row.cutout_id].assign(score=0.9, cutout_id=connection.scalar(text(CUTOUT), values))
            insert_scores(connection, sky.model_id, own)
    evaluate_model(sky_engine, "m1", QUICK)
    counted = (
        "SELECT split || ' ' || sample || ' ' || n FROM {} "
        "WHERE (sample LIKE 'held%' OR sample = 'tier_ab') AND fpr_target = 0.01 AND {} ORDER BY 1"
    )
    pooled = "nobs_z_bin IS NULL AND type IS NULL"
    ground = sky.members[(sky.members.label == 1) & (sky.members.discovery == "ground_imaging")].split.value_counts()
    on_val = ["val held_out 12", f"val tier_ab {ground['val']}"]
    assert scalars(sky_engine, counted.format("results.recall_by_stratum", pooled)) == on_val
    evaluate_model(sky_engine, "m1", QUICK, test_reason="held-out discoveries")
    both = ["test held_out 12", "test held_out_all 36", f"test tier_ab {ground['test']}", *on_val]
    assert scalars(sky_engine, counted.format("results.recall_by_stratum", pooled)) == both
    assert scalars(sky_engine, counted.format("results.recall_by_condition", "axis = 'all'")) == both


def test_newer_scores_make_an_evaluation_stale(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK)
    assert not evaluate_model(sky_engine, "m1", QUICK).was_evaluated
    change(
        sky_engine, "UPDATE provenance.run SET finished_at = now() WHERE run_id IN (SELECT run_id FROM training.score)"
    )
    assert evaluate_model(sky_engine, "m1", QUICK).was_evaluated


def test_other_targets_are_evaluated_anew(sky_engine: Engine) -> None:
    evaluate_model(sky_engine, "m1", QUICK)
    assert evaluate_model(sky_engine, "m1", EvaluateConfig(fpr_targets=(0.02,), n_bootstrap=20)).was_evaluated
    rows = read_report(sky_engine, "m1").rows["threshold_table"]
    assert {(row["fpr_target"], row["n_negatives_needed"]) for row in rows} == {(0.02, 500)}


def test_two_evaluations_at_once_do_not_race(sky_engine: Engine) -> None:
    with only_one(sky_engine, "the evaluation of model m1"), pytest.raises(BusyError):
        evaluate_model(sky_engine, "m1", QUICK)


def test_a_model_that_is_not_there_is_named(sky_engine: Engine) -> None:
    with pytest.raises(ModelNotFoundError, match="nope"):
        evaluate_model(sky_engine, "nope", QUICK)


@pytest.mark.parametrize(
    "rule",
    [{"fpr_targets": [0]}, {"fpr_targets": [2]}, {"fpr_targets": []}, {"fpr_targets": [0.01, 0.01]}, {"n_bootstrap": 0},
     {"seed": -1}],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_one_line(rule: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(rule))):
        load_config(EvaluateConfig, None, **rule)


def test_the_command_prints_what_was_read_within_120_columns(sky_engine: Engine, run_cli: RunCli) -> None:
    done = run_cli("evaluate", "m1", "--test", "first look [draft]")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "test split: read now (first look [draft]); 1 reading on record"
    assert max(map(len, done.stdout.splitlines())) <= 120
    for said in ("TPR0", "needed", "by condition, test split", "unseen half", "false positives by pool and kind"):
        assert said in done.stdout, said
    shown = run_cli("evaluate", "m1", "--json")
    report = json.loads(shown.stdout)
    assert report["evaluated_now"] == []
    assert report["about_test"].endswith("not read again; 1 reading on record")
    assert {row["axis"] for row in report["recall_by_condition"]} >= {"all", "psf_fwhm_z_arcsec", "grade", "domain"}


def test_readers_may_read_the_results_and_nothing_else(populated: Populated) -> None:
    with populated.engine.begin() as connection:
        connection.execute(text("SET LOCAL ROLE stronglens_reader"))
        assert connection.scalar(text("SELECT count(*) FROM results.threshold_table")) == 6
        assert connection.scalar(text("SELECT count(*) FROM results.recall_by_condition")) > 100
        assert connection.scalar(text("SELECT version_num FROM public.alembic_version"))
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("SELECT count(*) FROM training.score"))
