"""The shortcut audit on made-up objects: what it must find, and what it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, column, select, update
from sqlalchemy import table as table_clause

from db import migrate
from db.models.imaging import ShortcutFeature
from etl.validation.adjust import COVARIATES, MAY_BE_NEGATIVE
from etl.validation.auc import auc, cell_weights, folded_auc
from etl.validation.gates import judge
from etl.validation.matching import CALIPERS, Pairs, match_classes
from etl.validation.objects import AUDIT_FEATURES, CONDITIONS
from etl.validation.report import FeatureAudit, GateVerdict, ValidationReport, write_report
from etl.validation.shortcuts import EXPECTED, AuditSettings, audit_shortcuts, verdict_of
from tests.builders import insert_draw, insert_run

SETTINGS = AuditSettings(n_bootstrap=200, seed=42, min_matched_positives=30)


def objects(n_positives: int = 300, n_negatives: int = 1500, seed: int = 1) -> pd.DataFrame:
    """A clean sky: noise that follows the depth, exposures too, cores that follow brightness and size."""
    rng = np.random.default_rng(seed)
    n = n_positives + n_negatives
    table = pd.DataFrame(
        {
            "label": np.r_[np.ones(n_positives, int), np.zeros(n_negatives, int)],
            "healpix_128": rng.integers(0, 150, n),
            "type": rng.choice(["SER", "DEV", "REX"], n),
            "mag_r": rng.normal(19, 0.7, n),
        }
    )
    for name in (*CONDITIONS, *MAY_BE_NEGATIVE, "border_p50_r", "border_std_r"):
        table[name] = rng.normal(size=n)
    for name in set(AUDIT_FEATURES) - MAY_BE_NEGATIVE:
        table[name] = np.exp(rng.normal(0, 0.05, n))
    table["psf_fwhm_r_arcsec"] = rng.normal(1.2, 0.1, n)
    table["depth_r"] = rng.normal(24.0, 0.45, n)
    for band in "grz":
        table[f"nobs_{band}"] = np.rint(4.5 * 10 ** (0.48 * (table["depth_r"] - 24) + rng.normal(0, 0.13, n))).clip(1)
    table["shape_r_arcsec"] = 10 ** rng.normal(0, 0.15, n)
    table["sersic"] = np.where(table["type"] == "SER", rng.normal(4, 1, n), 4.0)
    table["ellipticity"] = np.where(table["type"] == "REX", 0.0, rng.uniform(0, 0.5, n))
    table["audit_mad_r"] *= 10 ** (-0.4 * (table["depth_r"] - 24))
    table["audit_core_4px_r"] *= 10 ** (-0.4 * (table["mag_r"] - 19)) / table["shape_r_arcsec"]
    return table


def verdicts(table: pd.DataFrame) -> dict[str, FeatureAudit]:
    return {audit.feature: audit for audit in audit_shortcuts(table, match_classes(table), SETTINGS)}


def test_auc_equals_scikit_learn_with_ties_and_weights() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 12, 500).astype(float)
    is_positive = rng.random(500) < 0.3
    weights = rng.integers(0, 4, (3, 500)).astype(float)
    truth = [roc_auc_score(is_positive, values, sample_weight=row) for row in weights]
    np.testing.assert_allclose(auc(values, is_positive, weights), truth, rtol=1e-12)


def test_the_bootstrap_draws_whole_cells_and_is_wider_when_cells_are_the_units() -> None:
    cells = np.repeat(np.arange(20), 50)
    weights = cell_weights(cells, 100, seed=1)
    assert (weights.reshape(100, 20, 50) == weights.reshape(100, 20, 50)[:, :, :1]).all()
    assert (weights.sum(axis=1) == 1000).all()
    rng = np.random.default_rng(3)
    is_positive = rng.random(1000) < 0.5
    values = rng.normal(size=20)[cells] * np.where(is_positive, 1, -1) + rng.normal(size=1000) * 0.1
    clustered = folded_auc(values, is_positive, cells, n_replicates=200, seed=1)
    alone = folded_auc(values, is_positive, np.arange(1000), n_replicates=200, seed=1)
    assert clustered is not None
    assert alone is not None
    assert clustered.hi - clustered.lo > 2 * (alone.hi - alone.lo)


def test_auc_is_folded_and_its_interval_with_it() -> None:
    rng = np.random.default_rng(4)
    is_positive = rng.random(800) < 0.5
    values = rng.normal(size=800) - is_positive
    found = folded_auc(values, is_positive, np.arange(800), n_replicates=200, seed=1)
    mirrored = folded_auc(-values, is_positive, np.arange(800), n_replicates=200, seed=1)
    assert found is not None
    assert mirrored is not None
    assert found.lo < found.value < found.hi
    assert found.value == pytest.approx(mirrored.value)
    assert (found.lo, found.hi) == pytest.approx((mirrored.lo, mirrored.hi))
    assert folded_auc(values, np.zeros(800, bool), np.arange(800), n_replicates=20, seed=1) is None


def test_a_clean_sample_is_green_throughout() -> None:
    found = verdicts(objects())
    assert set(found) == {*AUDIT_FEATURES, "metadata_only", "border_only"}
    assert {audit.verdict for audit in found.values()} == {"green"}
    assert found["metadata_only"].kind == "metadata"
    assert found["border_only"].kind == found["audit_border_r"].kind == "border"


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        ("audit_outer_r", "audit_outer_r"),
        ("audit_border_r", "audit_border_r"),
        ("ebv_mag", "metadata_only"),
        ("border_std_r", "border_only"),
    ],
)
def test_a_planted_shortcut_is_red_and_a_fault(column: str, feature: str) -> None:
    table = objects()
    table[column] += 1.5 * table["label"]
    found = verdicts(table)
    assert found[feature].verdict == "red"
    assert found[feature].judged_by == "matched"
    assert found[feature].is_fault
    assert found[feature].auc_matched == pytest.approx(found[feature].auc_raw, abs=0.06)
    assert {audit.verdict for name, audit in found.items() if name != feature} == {"green"}


def test_positives_deeper_by_what_no_column_says_are_red_by_what_adjusting_leaves() -> None:
    table = objects()
    table["audit_mad_r"] *= np.where(table["label"] == 1, 10 ** (-0.4 * 0.15), 1)
    found = verdicts(table)["audit_mad_r"]
    assert (found.verdict, found.judged_by, found.is_fault) == ("red", "adjusted", True)
    assert found.auc_adjusted is not None
    assert found.auc_matched is not None
    assert found.auc_lo is not None
    assert found.auc_lo < found.auc_adjusted
    assert found.auc_adjusted > 0.9
    assert found.auc_matched < 0.7


def test_positives_with_another_mix_of_exposures_are_red_in_metadata_alone() -> None:
    table = objects()
    for band in "grz":
        table[f"nobs_{band}"] = np.rint(table[f"nobs_{band}"] * np.where(table["label"] == 1, 1.5, 1))
    found = verdicts(table)
    assert {name for name, audit in found.items() if audit.is_fault} == {"metadata_only"}


@pytest.mark.parametrize(("brighter", "is_passed"), [(1.0, True), (1.06, True), (1.14, False), (0.87, False)])
def test_the_core_gate_finds_ten_per_cent_in_cores_that_differ_by_factors(brighter: float, is_passed: bool) -> None:
    table = objects()
    table["audit_core_4px_r"] *= np.where(table["label"] == 1, brighter, 1)
    pairs = match_classes(table)
    members = table.assign(status="ok", uri="x", is_sound=True)
    gate = next(gate for gate in judge(members, table, pairs, []) if gate.rule == "core_ratio")
    assert gate.is_passed is is_passed
    assert gate.value == pytest.approx(max(brighter, 1 / brighter), abs=0.015)
    assert "adjusted" in gate.detail
    cores = [np.median(table["audit_core_4px_r"].to_numpy()[side]) for side in (pairs.positive, pairs.negative)]
    assert abs(cores[0] / cores[1] / brighter - 1) > 0.015


def test_red_asymmetry_is_expected_physics_and_no_fault() -> None:
    table = objects()
    table["audit_asymmetry_r"] *= 1 + 0.2 * table["label"]
    found = verdicts(table)["audit_asymmetry_r"]
    assert (found.verdict, found.is_expected_physics, found.is_fault) == ("red", True, False)


def test_matching_removes_what_only_magnitude_explains() -> None:
    table = objects(n_negatives=3000)
    table["mag_r"] -= 0.9 * table["label"]
    table["audit_core_4px_r"] = 10 ** (-0.4 * (table["mag_r"] - 19)) * np.exp(
        np.random.default_rng(6).normal(0, 0.1, len(table))
    )
    found = verdicts(table)["audit_core_4px_r"]
    assert found.auc_raw > 0.75
    assert found.auc_matched is not None
    assert found.auc_matched < 0.56
    assert found.verdict == "green"


def test_pairs_agree_in_type_lie_within_the_calipers_and_use_no_one_twice() -> None:
    table = objects()
    table.loc[3, "mag_r"] = np.nan
    table.loc[5, "type"] = None
    pairs = match_classes(table)
    left, right = table.iloc[pairs.positive], table.iloc[pairs.negative]
    assert len(left) > 200
    assert (left["label"] == 1).all()
    assert (right["label"] == 0).all()
    assert len(set(pairs.negative)) == len(set(pairs.positive)) == len(left)
    assert (left["type"].to_numpy() == right["type"].to_numpy()).all()
    for name, caliper in CALIPERS.items():
        assert (np.abs(left[name].to_numpy() - right[name].to_numpy()) <= caliper).all()
    assert not {3, 5} & set(pairs.positive)


def test_nothing_to_match_gives_no_pairs() -> None:
    table = objects(20, 40)
    table["mag_r"] += 10 * table["label"]
    assert len(match_classes(table).positive) == 0
    assert len(match_classes(table.iloc[:0]).positive) == 0


def test_too_few_pairs_leave_the_matched_value_out_and_judge_the_raw_one() -> None:
    table = objects(20, 400)
    table["audit_mad_r"] *= 1 + 3 * table["label"]
    found = verdicts(table)["audit_mad_r"]
    assert (found.auc_matched, found.auc_adjusted, found.judged_by) == (None, None, "raw")
    assert found.auc_lo is not None
    assert found.auc_lo < found.auc_raw
    assert found.verdict == "red"


def test_objects_without_a_shape_are_judged_by_the_matched_value() -> None:
    table = objects().assign(shape_r_arcsec=np.nan)
    table["audit_mad_r"] *= 1 + 3 * table["label"]
    found = verdicts(table)["audit_mad_r"]
    assert (found.auc_adjusted, found.judged_by, found.verdict) == (None, "matched", "red")
    gates = judge(table.assign(status="ok", uri="x", is_sound=True), table, match_classes(table), [])
    assert "not adjusted" in next(gate for gate in gates if gate.rule == "core_ratio").detail


def test_the_audit_gives_the_same_answer_twice() -> None:
    table = objects()
    assert verdicts(table) == verdicts(table)


@pytest.mark.parametrize(("bound", "word"), [(0.599, "green"), (0.60, "yellow"), (0.70, "yellow"), (0.7001, "red")])
def test_verdicts_follow_the_limits(bound: float, word: str) -> None:
    assert verdict_of(bound) == word


NO_COVARIATES: dict[str, object] = dict.fromkeys(COVARIATES, np.nan) | {"type": "SER", "healpix_128": 1}


AUDITED = [
    FeatureAudit(name, "image", False, 50, 100, 50, 0.5, 0.5, 0.4, 0.6, "green", None, "matched") for name in EXPECTED
]


def gate_members(n_bad_negatives: int, n_bad_positives: int) -> pd.DataFrame:
    label = np.r_[np.ones(50, int), np.zeros(100, int)]
    is_sound = np.ones(150, bool)
    is_sound[:n_bad_positives] = False
    is_sound[50 : 50 + n_bad_negatives] = False
    return pd.DataFrame({"label": label, "status": "ok", "uri": "store:x", "is_sound": is_sound})


@pytest.mark.parametrize(
    ("negatives", "positives", "core", "failed"),
    [
        (0, 0, 1.0, set()),
        (2, 0, 1.09, set()),
        (3, 0, 1.0, {"negatives_sound"}),
        (0, 1, 1.0, {"positives_sound"}),
        (0, 0, 1.11, {"core_ratio"}),
        (0, 0, 1 / 1.11, {"core_ratio"}),
    ],
)
def test_gates_pass_up_to_their_limits(negatives: int, positives: int, core: float, failed: set[str]) -> None:
    members = gate_members(negatives, positives)
    sound = members.assign(audit_core_4px_r=np.where(members["label"] == 1, core, 1.0), **NO_COVARIATES)
    pairs = Pairs(np.arange(50), np.arange(50, 100))
    gates = judge(members, sound, pairs, AUDITED)
    assert {gate.rule for gate in gates if not gate.is_passed} == failed
    report = ValidationReport("d", "v1", 0, tuple(AUDITED), gates, (), 50, is_small=False)
    assert report.is_go == (not failed)
    assert report.verdict.startswith("GO" if not failed else "NO-GO")


def test_a_red_feature_fails_the_shortcut_gate() -> None:
    members = gate_members(0, 0)
    sound = members.assign(audit_core_4px_r=1.0, **NO_COVARIATES)
    red = [replace(one, verdict="red") if one.feature == "audit_mad_r" else one for one in AUDITED]
    gates = judge(members, sound, Pairs(np.arange(50), np.arange(50, 100)), red)
    assert {gate.rule for gate in gates if not gate.is_passed} == {"no_shortcut"}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_was_not_audited_fails_the_shortcut_gate(name: str) -> None:
    members = gate_members(0, 0)
    sound = members.assign(audit_core_4px_r=1.0, **NO_COVARIATES)
    rest = [one for one in AUDITED if one.feature != name]
    gates = judge(members, sound, Pairs(np.arange(50), np.arange(50, 100)), rest)
    (failed,) = (gate for gate in gates if not gate.is_passed)
    assert failed.rule == "no_shortcut"
    assert name in failed.detail


def test_a_column_that_one_class_lacks_is_a_difference_and_not_an_excuse() -> None:
    table = objects()
    assert verdicts(table)["metadata_only"].verdict == "green"
    table.loc[table["label"] == 1, "ebv_mag"] = np.nan
    assert verdicts(table)["metadata_only"].is_fault


def test_positives_that_were_never_cut_fail_their_gate_and_rejected_ones_do_not() -> None:
    members = gate_members(0, 0)
    sound = members.assign(audit_core_4px_r=1.0, **NO_COVARIATES)
    one = members.index[members["label"] == 1][:1]
    for status, is_passed in (("rejected", True), (None, False)):
        lost = members.copy()
        lost.loc[one, ["status", "uri", "is_sound"]] = [status, None, False]
        gates = judge(lost, sound, Pairs(np.arange(50), np.arange(50, 100)), AUDITED)
        assert {gate.rule: gate.is_passed for gate in gates}["positives_sound"] == is_passed


def test_a_judged_audit_is_kept_and_one_of_an_earlier_revision_learns_what_it_was_judged_by(engine: Engine) -> None:
    table = objects()
    found = audit_shortcuts(table, match_classes(table), SETTINGS)
    gate = GateVerdict("no_shortcut", 0, 0, is_passed=True, detail="none")
    report = ValidationReport("d", "v1", 0, found, (gate,), (), 100, is_small=False)
    with engine.begin() as connection:
        draw_id, _ = insert_draw(connection)
        write_report(connection, report, draw_id, insert_run(connection))
        raw = {"auc_matched": None, "judged_by": "raw"}
        connection.execute(update(ShortcutFeature).where(ShortcutFeature.feature == "audit_outer_r").values(raw))
    assert judged_by(engine) == {"audit_mad_r": "adjusted", "audit_outer_r": "raw"}
    migrate.downgrade(engine, "0016")
    migrate.upgrade(engine)
    assert judged_by(engine) == {"audit_mad_r": "matched", "audit_outer_r": "raw"}


def judged_by(engine: Engine) -> dict[str, str]:
    """What features other than by their matched value, as the public view tells it, and the noise."""
    view = table_clause("shortcut_audit", column("feature"), column("judged_by"), schema="results")
    with engine.connect() as connection:
        rows = {row.feature: row.judged_by for row in connection.execute(select(view))}
    assert len(rows) == len(AUDIT_FEATURES) + 2
    return {name: by for name, by in rows.items() if by != "matched" or name == "audit_mad_r"}
