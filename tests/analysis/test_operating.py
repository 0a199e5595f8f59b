"""Thresholds and counts against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.operating import choose_threshold, count_all, count_held_out
from analysis.scores import COLUMNS, ScoredObjects
from tests.analysis.scored import scored_objects


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


def random_objects(n: int, **columns: np.ndarray) -> ScoredObjects:
    rng = np.random.default_rng(8)
    label = rng.integers(0, 2, n)
    negative = label == 0
    pool = np.where(negative, rng.choice(["N1", "N2"], n), "positive")
    made = {
        "score": rng.random(n),
        "label": label,
        "pool": pool,
        "category": np.where(pool == "N2", rng.choice(["ring", "edge_on", "mined"], n), ""),
        "tier": np.where(negative, "", rng.choice(["A", "B"], n)),
        "discovery": np.where(negative, "", rng.choice(["ground_imaging", "hst"], n, p=[0.8, 0.2])),
        "best_letter_grade": np.where(negative, "", rng.choice(["A", "B", "C", ""], n)),
        "nobs_z_bin": rng.choice(["1-2", "3-5", "6-10", "11+", ""], n),
        "stratum_type": rng.choice(["SER", "DEV", "REX", ""], n),
    }
    return scored_objects(**made | columns)


def test_counts_are_those_of_a_plain_loop() -> None:
    objects = random_objects(900)
    rows = [{name: getattr(objects, name)[i] for name in COLUMNS} for i in range(900)]
    tiers = {"tier_a": "A", "tier_b": "B"}
    counts = count_all(objects, 0.6)
    assert len({(c.sample, c.nobs_z_bin, c.type, c.category) for c in counts}) == len(counts) > 90
    for count in counts:
        k = n = 0
        for row in rows:
            if count.sample in ("N1", "N2", "negatives"):
                belongs = row["label"] == 0 and count.sample in (row["pool"], "negatives")
                belongs = belongs and count.category in (None, row["category"])
            else:
                ground = row["discovery"] == "ground_imaging"
                belongs = row["label"] == 1 and ground == (count.sample != "not_ground_imaging")
                belongs = belongs and (count.sample not in tiers or row["tier"] == tiers[count.sample])
                is_graded = row["tier"] == "A" or row["best_letter_grade"] != ""
                belongs = belongs and (count.sample != "tier_ab_graded" or is_graded)
                belongs = belongs and count.nobs_z_bin in (None, row["nobs_z_bin"] or "none")
                belongs = belongs and count.type in (None, row["stratum_type"] or "none")
            n += belongs
            k += belongs and row["score"] >= 0.6
        assert (count.k, count.n) == (k, n), count


def test_held_out_discoveries_are_counted_in_their_split_and_with_test_wherever_they_lie() -> None:
    n = 300
    held = random_objects(
        n,
        label=np.ones(n, int),
        pool=np.full(n, "held_out"),
        discovery=np.full(n, "ground_imaging"),
        split=np.random.default_rng(1).choice(["train", "val", "test", ""], n),
    )
    assert not any(count.n for count in count_all(held, 0.5))
    for split, samples in (("val", {"held_out"}), ("test", {"held_out", "held_out_all"})):
        counts = count_held_out(held, split, 0.5)
        assert {count.sample for count in counts} == samples
        for count in counts:
            kept = (held.split == split) | (count.sample == "held_out_all")
            if count.nobs_z_bin is not None:
                kept &= held.nobs_z_bin == count.nobs_z_bin.replace("none", "")
            if count.type is not None:
                kept &= held.stratum_type == count.type.replace("none", "")
            assert (count.n, count.k) == (kept.sum(), (kept & (held.score >= 0.5)).sum())
    assert count_held_out(held.where(np.zeros(n, bool)), "test", 0.5) == []
