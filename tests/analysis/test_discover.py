"""The survey's top fraction against plain numpy, on made-up skies whose weights and ranks are known."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text

from analysis.bootstrap import CellBootstrap
from analysis.discover import DiscoverConfig, discover
from analysis.discovery.summary import DiscoverySummary
from analysis.discovery.survey_quantile import SurveySample, effective_number, galaxies_stood_for, survey_cut
from analysis.errors import AnalysisError, NoScoresError, ReasonMissingError
from db.models.calibration import Calibration
from db.models.catalog import Lens
from db.models.discovery import Discovery, DiscoveryCut
from db.models.evaluation import TestAccess as Reading
from db.models.provenance import Run
from db.models.training import Model
from etl.splits import SplitConfig, assign_splits
from tests.builders import insert_lenses, insert_run
from tests.conftest import RunCli
from tests.etl.draw_world import drawn_pool, insert_model, insert_scored_cutouts
from tests.etl.test_draw import Pool, category, members, nobs_bin

FRACTION = 0.05
CONFIG = DiscoverConfig(fraction=FRACTION, n_bootstrap=50)


def brute_force_threshold(score: np.ndarray, weight: np.ndarray, fraction: float) -> float:
    """The highest score at or above which lies at least a fraction of the weight, tried one by one."""
    return max(t for t in set(score) if weight[score >= t].sum() >= fraction * weight.sum() * (1 - 1e-12))


def made_up_sample(n: int, seed: int) -> SurveySample:
    rng = np.random.default_rng(seed)
    return SurveySample(rng.uniform(size=n).round(3), rng.choice([1.0, 3.5, 80.0], n), rng.integers(0, 40, n))


@pytest.mark.parametrize("fraction", [0.0001, 0.004, 0.1])
def test_the_threshold_is_that_of_a_search_through_all_scores(fraction: float) -> None:
    sample = made_up_sample(3000, 1)
    cut = survey_cut(sample, fraction, n_bootstrap=200, seed=5)
    assert cut.threshold == brute_force_threshold(sample.score, sample.weight, fraction)
    above = sample.score >= cut.threshold
    assert (cut.n_sample, cut.n_above, cut.n_survey) == (3000, above.sum(), pytest.approx(sample.weight.sum()))
    w = sample.weight
    assert cut.n_effective == pytest.approx(w.sum() ** 2 / (w @ w))
    assert cut.n_above_effective == pytest.approx(w[above].sum() ** 2 / (w[above] @ w[above]))
    # Each replicate once more, with objects repeated instead of weighed.
    resampled = CellBootstrap.draw(sample.cell, 200, 5)
    counts = np.concatenate([block[resampled.number] for block in resampled.blocks], axis=1).T
    found = [brute_force_threshold(np.repeat(sample.score, row), np.repeat(w, row), fraction) for row in counts]
    assert (cut.threshold_lo, cut.threshold_hi) == pytest.approx(
        (min(np.quantile(found, 0.025), cut.threshold), max(np.quantile(found, 0.975), cut.threshold))
    )
    for score in (0.0, 0.5, float(sample.score.max()), 1.0):
        expected = w[sample.score >= score].sum() / w.sum()
        assert sample.fraction_at_or_above(np.array([score]))[0] == pytest.approx(expected, abs=1e-12)


def test_a_sample_enriched_in_confusers_gives_the_quantile_of_the_survey() -> None:
    rng = np.random.default_rng(2)
    n = 400_000
    is_confuser = rng.uniform(size=n) < 0.05
    score = np.where(is_confuser, rng.beta(4, 2, n), rng.beta(1, 6, n))
    probability = np.where(is_confuser, 0.5, 0.05)
    taken = rng.uniform(size=n) < probability
    cell = rng.integers(0, 500, n)
    truth = np.quantile(score, 1 - 1e-3)
    weight = galaxies_stood_for(
        probability[taken],
        np.where(is_confuser, "c", "n")[taken],
        np.ones(taken.sum(), bool),
        np.zeros(taken.sum(), bool),
    )
    cut = survey_cut(SurveySample(score[taken], weight, cell[taken]), 1e-3, n_bootstrap=500, seed=1)
    assert cut.threshold_lo <= truth <= cut.threshold_hi
    assert cut.threshold_hi - cut.threshold_lo < 0.03
    unweighted = np.quantile(score[taken], 1 - 1e-3)
    assert unweighted > cut.threshold_hi
    assert cut.n_survey == pytest.approx(n, rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_pool_galaxies_stand_for_themselves_and_draw_members_for_the_rest(share: float) -> None:
    rng = np.random.default_rng(3)
    n = 50_000
    kind = rng.choice(["a", "b"], n, p=[0.9, 0.1])
    taken = rng.uniform(size=n) < np.where(kind == "a", 0.02, 0.4)
    looked_at = ~taken & (rng.uniform(size=n) < share)
    some = taken | looked_at
    observed = {k: taken[kind == k].mean() for k in "ab"}
    probability = np.array([observed[k] for k in kind])
    weight = galaxies_stood_for(np.where(taken, probability, np.nan)[some], kind[some], taken[some], looked_at[some])
    assert weight[~taken[some]].tolist() == [1.0] * looked_at.sum()
    for k in "ab":
        assert weight[kind[some] == k].sum() == pytest.approx((kind == k).sum(), rel=1e-6)
    if share == 1.0:
        assert weight == pytest.approx(1.0)


def test_one_object_and_none() -> None:
    one = SurveySample(np.array([0.7]), np.array([9.0]), np.array([4]))
    cut = survey_cut(one, 1e-4, n_bootstrap=20, seed=0)
    assert (cut.threshold, cut.threshold_lo, cut.threshold_hi, cut.n_above) == (0.7, 0.7, 0.7, 1)
    assert effective_number(one.weight) == 1
    empty = SurveySample(np.array([]), np.array([]), np.array([], dtype=np.int64))
    with pytest.raises(AnalysisError, match="no object stands for the survey"):
        survey_cut(empty, 1e-4, n_bootstrap=20, seed=0)


@dataclass
class World:
    """A drawn pool, all of it scored; the 12 lenses have cutouts and the best scores."""

    engine: Engine
    pool: Pool
    model_id: int
    scores: dict[int, float]
    lens_scores: dict[int, float]
    split: dict[int, str]

    def rows(self) -> list[dict[str, Any]]:
        """Every galaxy with all that a reader could know of it."""
        drawn = members(self.engine)
        columns = self.pool.columns
        near = np.min(
            [
                np.hypot((self.pool.ra - r) * np.cos(np.radians(d)), self.pool.dec - d) * 3600
                for r, d in zip(self.pool.lens_ra, self.pool.lens_dec, strict=True)
            ],
            axis=0,
        )  # fmt: skip
        found = []
        bad_bits = sum(1 << bit for bit in (1, 5, 6, 7, 11, 12, 13))
        for i, ls_id in enumerate(columns["ls_id"].tolist()):
            own = {name: value[i] for name, value in columns.items()}
            is_open = (
                22.5 - 2.5 * np.log10(own["flux_z"]) < 20
                and own["maskbits"] & bad_bits == 0
                and min(own["nobs_g"], own["nobs_z"]) >= 1
                and (own["type"] != "EXP" or category(own) is not None)
                and near[i] > 11
            )
            found.append(
                {
                    "ls_id": ls_id,
                    "score": self.scores[ls_id],
                    "split": self.split[ls_id],
                    "kind": (nobs_bin(own["nobs_z"]), own["type"], category(own) is not None),
                    "probability": drawn[ls_id][4] if ls_id in drawn else None,
                    "is_open": is_open and ls_id not in drawn,
                    "is_near": near[i] <= 11,
                    "is_lens": near[i] == 0,
                }
            )
        return found


@pytest.fixture
def world(engine: Engine) -> World:
    pool = drawn_pool(engine)
    assign_splits(engine, SplitConfig())
    with engine.begin() as connection:
        model_id = insert_model(connection)
        scores = insert_scored_cutouts(connection, model_id)
        lens_scores = score_lenses(connection, model_id)
        split = dict(
            connection.execute(
                text("SELECT g.ls_id, c.split FROM catalog.galaxy g JOIN sampling.split_cell c USING (healpix_128)")
            ).all()
        )
    return World(engine, pool, model_id, scores, lens_scores, split)


def score_lenses(connection: Connection, model_id: int) -> dict[int, float]:
    run = insert_run(connection)
    connection.execute(
        text(
            "INSERT INTO imaging.cutout (survey, data_release, lens_id, ra, dec, version, layer, source, brickname, "
            "uri, sha256, n_bytes, bands, n_pixels, pixel_scale_arcsec, nan_fraction, status, run_id) "
            "SELECT 'dr10', 10, lens_id, ra, dec, 'v1', 'ls-dr10-south', 'coadd', '0001p000', 'lens' || lens_id, "
            "md5(lens_id::text), 1, 'grz', 101, 0.262, 0, 'ok', :run FROM catalog.lens"
        ),
        {"run": run},
    )
    connection.execute(
        text(
            "INSERT INTO training.score (model_id, cutout_id, score, run_id) SELECT :model, cutout_id, "
            "0.999 + lens_id * 1e-6, :run FROM imaging.cutout WHERE lens_id IS NOT NULL"
        ),
        {"model": model_id, "run": run},
    )
    return dict(
        connection.execute(
            text(
                "SELECT lens_id, score FROM training.score JOIN imaging.cutout USING (cutout_id) "
                "WHERE lens_id IS NOT NULL"
            )
        ).all()
    )


def expected_threshold(world: World, rows: list[dict[str, Any]], splits: tuple[str, ...]) -> tuple[float, float]:
    """The quantile of the survey and the galaxies that the sample stands for, one object at a time."""
    here = [row for row in rows if row["split"] in splits]
    score, weight = [], []
    for row in here:
        same = [other for other in here if other["kind"] == row["kind"]]
        if row["probability"] is not None:
            stood_for = sum(1 / other["probability"] for other in same if other["probability"] is not None)
            n_pool = sum(other["is_open"] for other in same)
            weight.append(max(1.0, (1 - n_pool / stood_for) / row["probability"]))
        elif row["is_open"]:
            weight.append(1.0)
        else:
            continue
        score.append(row["score"])
    with world.engine.connect() as connection:
        lenses = connection.execute(
            text(
                "SELECT l.lens_id, c.split FROM catalog.lens l JOIN sampling.split_cell c USING (healpix_128) "
                "JOIN catalog.lens_match m USING (lens_id)"
            )
        ).all()
    mine = [world.lens_scores[lens.lens_id] for lens in lenses if lens.split in splits]
    scores, weights = np.array([*score, *mine]), np.array([*weight, *[1.0] * len(mine)])
    return brute_force_threshold(scores, weights, FRACTION), float(weights.sum())


def published(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM results.discoveries ORDER BY rank")).all())


def n_rows(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        tables = (Run, DiscoveryCut, Discovery, Reading)
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def check(world: World, summary: DiscoverySummary, splits: tuple[str, ...]) -> None:
    rows = world.rows()
    threshold, n_survey = expected_threshold(world, rows, splits)
    assert (summary.cut.threshold, summary.cut.n_survey) == (threshold, pytest.approx(n_survey))
    read = {"train", *splits}
    above = [row for row in rows if row["score"] >= threshold and row["split"] in read]
    wanted = {row["ls_id"]: row for row in above if not row["is_near"]}
    found = published(world.engine)
    assert {row.ls_id for row in found} == set(wanted)
    assert 20 < len(found) < 400
    assert [row.rank for row in found] == list(range(1, len(found) + 1))
    assert [(-row.score, row.cutout_id) for row in found] == sorted((-row.score, row.cutout_id) for row in found)
    with world.engine.connect() as connection:
        dropped = set(
            connection.scalars(
                text("SELECT ls_id FROM sampling.guard_drop JOIN sampling.draw_member USING (member_id)")
            )
        )
    for row in found:
        known = wanted[row.ls_id]
        assert (row.score, row.split) == (known["score"], known["split"])
        is_taught = known["probability"] is not None and known["split"] == "train" and row.ls_id not in dropped
        assert row.is_trained_on == is_taught
        assert (row.pool is not None) == (known["probability"] is not None)
        assert (row.known_lens_name, row.probability) == (None, None)
        assert 0 <= row.survey_quantile <= 2 * FRACTION
    assert any(row.is_trained_on for row in found)
    assert any(row.pool is None for row in found)
    assert summary.n_candidates == len(found)


def test_the_candidates_are_the_top_of_the_survey_without_lenses_and_without_the_test_sky(world: World) -> None:
    summary = discover(world.engine, "m1", CONFIG)
    check(world, summary, ("val",))
    assert n_rows(world.engine)[3] == 0
    with world.engine.connect() as connection:
        cut = connection.execute(select(DiscoveryCut.__table__)).one()
    assert (cut.threshold, cut.n_above, cut.is_test_read) == (summary.cut.threshold, summary.cut.n_above, False)
    assert cut.threshold_lo <= cut.threshold <= cut.threshold_hi
    before = n_rows(world.engine)
    again = discover(world.engine, "m1", CONFIG)
    assert not again.is_new
    assert n_rows(world.engine) == before


def test_the_test_sky_is_read_for_a_reason_that_is_put_on_record(world: World) -> None:
    discover(world.engine, "m1", CONFIG)
    assert not any("test split" in line for line in discover(world.engine, "m1", CONFIG).lines())
    summary = discover(world.engine, "m1", CONFIG, test_reason="the paper's list")
    check(world, summary, ("val", "test"))
    assert summary.lines()[-1] == "test split read once for this model"
    assert not discover(world.engine, "m1", CONFIG, test_reason="the paper's list").is_new
    with world.engine.connect() as connection:
        assert connection.scalars(select(Reading.purpose)).all() == ["the paper's list"]


def test_a_draw_alone_stands_for_the_survey_by_its_probabilities(world: World) -> None:
    with world.engine.begin() as connection:
        connection.execute(
            text(
                "DELETE FROM training.score WHERE cutout_id IN (SELECT c.cutout_id FROM imaging.cutout c "
                "WHERE c.lens_id IS NOT NULL "
                "OR c.ls_id NOT IN (SELECT ls_id FROM sampling.draw_member WHERE label = 0))"
            )
        )
        # Positives have to be scored too where they are in val; without cutouts they are in no manifest.
        connection.execute(text("DELETE FROM imaging.cutout WHERE lens_id IS NOT NULL"))
    summary = discover(world.engine, "m1", CONFIG)
    drawn = [row for row in world.rows() if row["probability"] is not None and row["split"] == "val"]
    score = np.array([row["score"] for row in drawn])
    weight = np.array([1 / row["probability"] for row in drawn])
    assert summary.cut.threshold == brute_force_threshold(score, weight, FRACTION)
    assert summary.cut.n_survey == pytest.approx(weight.sum())
    assert len(set(weight)) > 5
    assert summary.cut.n_effective < len(drawn)


def test_a_lens_that_becomes_known_is_matched_and_no_candidate_any_more(world: World) -> None:
    first = discover(world.engine, "m1", CONFIG)
    best = published(world.engine)[0]
    with world.engine.begin() as connection:
        insert_lenses(connection, [best.ra], [best.dec + 10 / 3600], [None])
    with world.engine.connect() as connection:
        stale = connection.execute(text("SELECT known_lens_name FROM results.discoveries WHERE rank = 1")).scalar_one()
    assert stale is None  # the match has not seen it yet
    second = discover(world.engine, "m1", CONFIG)
    assert second.is_new
    assert best.ls_id not in {row.ls_id for row in published(world.engine)}
    assert second.n_known >= first.n_known
    with world.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Lens)) == 13


def test_probabilities_are_calibrated_and_moved_to_the_survey_s_prevalence(world: World) -> None:
    slope, intercept = 1.4, -0.8
    replicates = [[intercept - d, slope + d] for d in np.linspace(-0.1, 0.1, 41)]
    prior = (1e-3 / (1 - 1e-3)) / (0.01 / 0.99)
    discover(world.engine, "m1", CONFIG)
    with world.engine.begin() as connection:
        connection.execute(
            insert(Calibration).values(
                model_id=world.model_id, method="platt", prevalence=0.01, n_positives=10, n_negatives=990,
                body={"method": "platt", "slope": slope, "intercept": intercept, "replicates": replicates},
                run_id=insert_run(connection),
            )
        )  # fmt: skip
    assert discover(world.engine, "m1", CONFIG.model_copy(update={"prevalence": 1e-3})).is_new
    found = [row for row in published(world.engine) if row.score < 1]
    assert len(found) > 20
    for row in found:
        s = row.score
        odds = np.exp(np.array([b * np.log(s / (1 - s)) + a for a, b in [[intercept, slope], *replicates]]))
        p, others = odds[0] * prior / (1 + odds[0] * prior), odds[1:] / (1 + odds[1:])
        lo, hi = np.quantile(others, [0.025, 0.975])
        assert row.probability == pytest.approx(p, rel=1e-9)
        assert row.probability_lo == pytest.approx(lo / (1 - lo) * prior / (1 + lo / (1 - lo) * prior), rel=1e-9)
        assert row.probability_hi == pytest.approx(hi / (1 - hi) * prior / (1 + hi / (1 - hi) * prior), rel=1e-9)
        assert row.probability_lo < row.probability < row.probability_hi
        assert row.prevalence == 1e-3


def test_what_cannot_be_searched_is_refused_in_one_line(world: World) -> None:
    engine = world.engine
    with engine.begin() as connection:
        connection.execute(
            text(
                "DELETE FROM training.score WHERE cutout_id = (SELECT max(cutout_id) FROM results.manifest "
                "WHERE split = 'test')"
            )
        )
    discover(engine, "m1", CONFIG)  # the test split is not read
    with pytest.raises(
        NoScoresError, match=r"1 of .* cutouts of the test split have no score: run `stronglens score m1`"
    ):
        discover(engine, "m1", CONFIG, test_reason="why not")
    with pytest.raises(ReasonMissingError, match="this one is blank"):
        discover(engine, "m1", CONFIG, test_reason=" ")
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE sampling.draw_member SET inclusion_probability = NULL"))
    with pytest.raises(AnalysisError, match="imported without inclusion probabilities"):
        discover(engine, "m1", CONFIG)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM training.score"))
    with pytest.raises(NoScoresError, match="of the val split have no score"):
        discover(engine, "m1", CONFIG)
    with engine.begin() as connection:
        connection.execute(Model.__table__.update().values(is_label_shuffled=True))
    with pytest.raises(AnalysisError, match="is a control"):
        discover(engine, "m1", CONFIG)


def test_the_command_prints_a_table_and_writes_a_file(world: World, run_cli: RunCli, tmp_path: Path) -> None:
    place = tmp_path / "found.csv"
    done = run_cli("discover", "--model", "m1", "--fraction", "0.001", "--csv", str(place))
    assert done.returncode == 0, done.stderr
    assert "the survey's top 0.1000 % reaches" in done.stdout or "the survey's top 0.1000% reaches" in done.stdout
    assert "fewer than 10 of the sample reach it: the threshold is uncertain" in done.stdout
    found = published(world.engine)
    with place.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["ls_id"]) for row in rows] == [row.ls_id for row in found]
    refused = run_cli("discover", "--model", "m1", "--csv", str(tmp_path / "no" / "found.csv"))
    assert refused.returncode == 1
    assert "give another place to --csv" in refused.stderr
