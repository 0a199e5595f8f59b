"""Thresholds and counts against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from analysis.auc import auc_by_cell
from analysis.operating import choose_threshold, count_all
from analysis.scores import COLUMNS, ScoredObjects


@pytest.mark.parametrize("n", [3, 100, 999, 1000])
@pytest.mark.parametrize("target", [1e-2, 1e-3, 0.3])
def test_a_threshold_lets_no_more_negatives_pass_than_its_target(n: int, target: float) -> None:
    scores = np.random.default_rng(n).random(n)
    chosen = choose_threshold(scores, target)
    assert chosen.n_exceedances == int((scores >= chosen.threshold).sum()) == int(np.floor(target * n))
    assert chosen.n_exceedances <= target * n


def test_tied_scores_never_let_more_pass() -> None:
    scores = np.array([0.9] * 10 + [0.1] * 90)
    chosen = choose_threshold(scores, 0.05)
    assert chosen.n_exceedances == 0
    assert chosen.threshold > 0.9


def test_scores_of_one_are_still_within_the_range_of_a_score() -> None:
    assert choose_threshold(np.ones(50), 0.01).threshold == 1.0


def random_objects(n: int) -> ScoredObjects:
    rng = np.random.default_rng(8)
    label = rng.integers(0, 2, n)
    negative = label == 0
    pool = np.where(negative, rng.choice(["N1", "N2"], n), "positive")
    columns = {
        "cutout_id": np.arange(n),
        "score": rng.random(n),
        "label": label,
        "pool": pool,
        "category": np.where(pool == "N2", rng.choice(["ring", "edge_on"], n), ""),
        "tier": np.where(negative, "", rng.choice(["A", "B"], n)),
        "discovery": np.where(negative, "", rng.choice(["ground_imaging", "hst"], n, p=[0.8, 0.2])),
        "split": rng.choice(["val", "test"], n),
        "nobs_z_bin": rng.choice(["1-2", "3-5", "6-10", "11+", ""], n),
        "stratum_type": rng.choice(["SER", "DEV", "REX", ""], n),
        "healpix_128": rng.integers(0, 60, n),
    }
    return ScoredObjects(**{name: columns[name] for name in COLUMNS})


def test_counts_are_those_of_a_plain_loop() -> None:
    objects = random_objects(900)
    rows = [{name: getattr(objects, name)[i] for name in COLUMNS} for i in range(900)]
    tiers = {"tier_a": "A", "tier_b": "B"}
    counts = count_all(objects, "test", 0.6)
    assert len({(c.sample, c.nobs_z_bin, c.type, c.category) for c in counts}) == len(counts) > 90
    for count in counts:
        k = n = 0
        for row in rows:
            if row["split"] != "test":
                continue
            if count.sample in ("N1", "N2", "negatives"):
                belongs = row["label"] == 0 and count.sample in (row["pool"], "negatives")
                belongs = belongs and count.category in (None, row["category"])
            else:
                ground = row["discovery"] == "ground_imaging"
                belongs = row["label"] == 1 and ground == (count.sample != "not_ground_imaging")
                belongs = belongs and (count.sample not in tiers or row["tier"] == tiers[count.sample])
                belongs = belongs and count.nobs_z_bin in (None, row["nobs_z_bin"] or "none")
                belongs = belongs and count.type in (None, row["stratum_type"] or "none")
            n += belongs
            k += belongs and row["score"] >= 0.6
        assert (count.k, count.n) == (k, n), count


def test_the_auc_is_sklearns_and_lies_in_its_interval() -> None:
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 500)
    score = np.round(label * 0.3 + rng.random(500), 2)  # with ties
    found = auc_by_cell(score, label, rng.integers(0, 80, 500), n_replicates=300)
    assert found.value == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert found.lo < found.value < found.hi


def test_objects_that_share_a_cell_widen_the_interval() -> None:
    """Twenty copies of each object in one cell carry no more information than one."""
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 60)
    score = label * 0.3 + rng.random(60)
    cell = np.arange(60)
    one = auc_by_cell(score, label, cell, n_replicates=800)
    copies = auc_by_cell(score.repeat(20), label.repeat(20), cell.repeat(20), n_replicates=800)
    alone = auc_by_cell(score.repeat(20), label.repeat(20), np.arange(1200), n_replicates=800)
    assert copies.hi - copies.lo == pytest.approx(one.hi - one.lo, rel=0.15)
    assert alone.hi - alone.lo < 0.5 * (copies.hi - copies.lo)
