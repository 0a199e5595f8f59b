"""What operating points yield, against arithmetic by hand and a counted sky."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, insert, text

from analysis.errors import AnalysisError, NoScoresError
from analysis.intervals import ensure_intervals, wilson
from analysis.purity import Search, read_purity
from db.models.calibration import SurveyRate
from db.models.evaluation import OperatingPoint, Tally
from db.models.evaluation import TestAccess as Access
from tests.analysis.scored import model_of
from tests.builders import insert_run
from tests.conftest import RunCli

RECALL, FPR = {"tier_a": (60, 80), "tier_ab": (100, 200)}, (2e-3, 1e-3, 4e-3)


def insert_point(connection: Connection, model_id: int, **values: Any) -> int:
    """An operating point with recall of both samples and a rate of the survey on val and test; values override."""
    base = {"split": "val", "fpr_target": 1e-3, "threshold": 0.9, "n_negatives": 20_000, "n_exceedances": 20}
    point = connection.scalar(
        insert(OperatingPoint)
        .values(model_id=model_id, **base | {k: v for k, v in values.items() if k in base})
        .returning(OperatingPoint.operating_point_id)
    )
    rate = dict(zip(("value", "lo", "hi"), values.get("fpr", FPR), strict=True))
    rate |= {
        "n": 18_000,
        "n_exceedances": values.get("n_above", 25),
        "n_effective": 9_000.0,
        "method": "bootstrap by sky cell",
    }
    for split in ("val", "test"):
        for sample, (k, n) in values.get("recall", RECALL).items():
            counted = {"split": split, "sample": sample, "k": k, "n": n}
            connection.execute(insert(Tally).values(operating_point_id=point, **counted))
            ensure_intervals(connection, {(k, n)})
        # A stratum beside the pooled margin must not be taken for it.
        part = {"split": split, "sample": "tier_a", "nobs_z_bin": "1-2", "k": 1, "n": 40}
        connection.execute(insert(Tally).values(operating_point_id=point, **part))
        connection.execute(insert(SurveyRate).values(operating_point_id=point, split=split, what="fpr", **rate))
    return int(point or 0)


def at(connection: Connection, *arguments: float) -> list[dict[str, Any]]:
    listed = ", ".join(map(str, arguments))
    query = f"SELECT * FROM results.purity_at({listed}) WHERE split = 'val' ORDER BY sample"
    return [dict(row) for row in connection.execute(text(query)).mappings()]


def test_the_yield_is_that_of_bayes_rule_with_the_worst_ends_together(connection: Connection) -> None:
    insert_point(connection, model_of(connection))
    rows = at(connection, 1e-4, 3.0)
    assert [row["sample"] for row in rows] == ["tier_a", "tier_ab"]
    for row in rows:
        k, n = RECALL[row["sample"]]
        r, (r_lo, r_hi) = k / n, (float(end) for end in wilson(k, n))
        f, f_lo, f_hi = FPR

        def purity(recall: float, fpr: float) -> float:
            return recall * 1e-4 / (recall * 1e-4 + fpr * (1 - 1e-4))

        assert row["purity"] == pytest.approx(purity(r, f))
        assert row["purity_lo"] == pytest.approx(purity(r_lo, f_hi))
        assert row["purity_hi"] == pytest.approx(purity(r_hi, f_lo))
        assert row["lenses_per_million"] == pytest.approx(100 * r)
        assert row["candidates_per_million"] == pytest.approx(100 * r + f * 999_900)
        assert row["candidates_per_million_lo"] == pytest.approx(100 * r_lo + f_lo * 999_900)
        assert row["candidates_per_lens"] == pytest.approx(1 / row["purity"])
        assert row["candidates_per_lens_lo"] == pytest.approx(1 / row["purity_hi"])
        assert row["candidates_per_lens_hi"] == pytest.approx(1 / row["purity_lo"])
        assert row["cost_per_lens"] == pytest.approx(3 / row["purity"])
        assert (row["n_negatives"], row["n_exceedances"], row["is_uncertain"]) == (18_000, 25, False)


def test_the_purity_is_that_of_a_sky_that_is_counted(connection: Connection) -> None:
    rng = np.random.default_rng(4)
    n, prior = 4_000_000, 1e-3
    is_lens = rng.random(n) < prior
    is_candidate = rng.random(n) < np.where(is_lens, 0.75, FPR[0])
    insert_point(connection, model_of(connection))
    row = at(connection, prior)[0]
    n_candidates, n_true = is_candidate.sum(), (is_candidate & is_lens).sum()
    assert row["purity"] == pytest.approx(n_true / n_candidates, rel=0.03)
    assert row["candidates_per_million"] * 4 == pytest.approx(n_candidates, rel=0.03)
    assert row["candidates_per_lens"] == pytest.approx(n_candidates / n_true, rel=0.03)


def test_the_view_has_five_priors_and_is_the_function_at_each(connection: Connection) -> None:
    insert_point(connection, model_of(connection))
    view = [dict(row) for row in connection.execute(text("SELECT * FROM results.purity")).mappings()]
    assert len(view) == 5 * 2 * 2
    assert sorted({row["lens_prior"] for row in view}) == [1e-5, 3e-5, 1e-4, 3e-4, 1e-3]
    for row in at(connection, 3e-5):
        assert row in view


@pytest.mark.parametrize("prior", [0, 1, -1, 2])
def test_a_prior_that_is_no_share_yields_no_rows(connection: Connection, prior: float) -> None:
    insert_point(connection, model_of(connection))
    assert at(connection, prior) == []


def test_nothing_above_a_threshold_is_unknown_and_not_pure(connection: Connection) -> None:
    recall = {"tier_a": (0, 80), "tier_ab": (0, 9)}
    insert_point(connection, model_of(connection), fpr=(0.0, 0.0, 2e-4), n_above=0, recall=recall)
    none, few = at(connection, 1e-4)
    assert none["purity"] is None
    assert none["purity_lo"] == 0
    assert none["purity_hi"] == 1
    assert none["candidates_per_lens"] is none["candidates_per_lens_hi"] is none["cost_per_lens"] is None
    assert few["recall"] is few["purity"] is few["candidates_per_million"] is None
    assert none["is_uncertain"]
    assert few["is_uncertain"]


@pytest.mark.parametrize("few", [{"n_above": 9}, {"n_exceedances": 9}, {"recall": {"tier_a": (5, 9)}}])
def test_few_exceedances_or_lenses_are_said(connection: Connection, few: dict[str, Any]) -> None:
    insert_point(connection, model_of(connection), **few)
    assert at(connection, 1e-4)[0]["is_uncertain"]


def test_readers_may_ask_for_any_prior(connection: Connection) -> None:
    insert_point(connection, model_of(connection))
    connection.execute(text("SET LOCAL ROLE stronglens_reader"))
    assert len(at(connection, 2e-4)) == 2
    assert connection.scalar(text("SELECT count(*) FROM results.purity")) == 20
    assert connection.scalar(text("SELECT count(*) FROM results.calibrations")) == 0


def test_the_command_prints_the_yield_and_gives_it_as_json(engine: Engine, run_cli: RunCli) -> None:
    with engine.begin() as connection:
        model_id = model_of(connection)
        insert_point(connection, model_id)
        insert_point(connection, model_id, fpr_target=1e-4, threshold=0.99, n_exceedances=2)
        access = {"model_id": model_id, "run_id": insert_run(connection), "purpose": "test"}
        connection.execute(insert(Access).values(**access))
    done = run_cli("purity", "m1", "--prior", "1e-4", "--galaxies", "114e6", "--cost", "2.5")
    assert done.returncode == 0, done.stderr
    assert "1 galaxy in 10,000 is a lens" in done.stdout
    assert "114,000,000 galaxies" in done.stdout
    assert "rates of the val split" in done.stdout
    assert "rates of the test split; readings of it: 1" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.split()[:2] == ["A", "0.001"])
    assert "0.750" in row
    assert "25/18,000" in row
    assert "2.0e-3 (1.0e-3-4.0e-3)" in row
    assert "*" not in row
    assert "\u2026" not in done.stdout
    assert f"{114 * (75 + 1999.8):,.0f}" in row
    assert max(map(len, done.stdout.splitlines())) <= 120
    body = json.loads(run_cli("purity", "m1", "--json").stdout)
    assert [row["fpr_target"] for row in body["purity_at"]][:2] == [1e-3, 1e-4]
    assert {row["lens_prior"] for row in body["purity_at"]} == {1e-4}
    assert len(body["purity"]) == 5 * len(body["purity_at"])


def test_a_model_without_rates_of_the_survey_is_told_why(engine: Engine) -> None:
    with engine.begin() as connection:
        model_id = model_of(connection)
    with pytest.raises(NoScoresError, match="run `stronglens evaluate m1` first"):
        read_purity(engine, "m1", Search())
    with engine.begin() as connection:
        insert_point(connection, model_id)
        connection.execute(text("DELETE FROM evaluation.survey_rate"))
    with pytest.raises(NoScoresError, match="its draw has no inclusion probabilities"):
        read_purity(engine, "m1", Search())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prior": 0}, "prior 0 is not"),
        ({"prior": 1}, "prior 1 is not"),
        ({"prior": float("nan")}, "prior nan"),
        ({"n_galaxies": 0}, "0 galaxies are none"),
        ({"n_galaxies": float("inf")}, "inf galaxies"),
        ({"cost_per_candidate": -1}, "cost -1"),
        ({"cost_per_candidate": float("nan")}, "cost nan"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        Search(**given)
