"""Areas under the ROC curve and their bootstrap, against pairs counted one by one and against sklearn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from analysis.auc import NUMBERS, RocOfSamples, auc_by_cell, roc_by_cell
from analysis.bootstrap import BLOCK, CellBootstrap, percentile_ends
from analysis.errors import AnalysisError


def sample(n: int = 400, seed: int = 3, digits: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, classes and cells."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.15).astype(int)
    return np.round(label * 0.4 + rng.random(n), digits), label, rng.integers(0, 60, n)


def by_pairs(scores: np.ndarray, label: np.ndarray, weight: np.ndarray, max_fpr: float) -> dict[str, float]:
    """The numbers from every pair, and from the corners of the weighted ROC curve joined by straight lines."""
    s, w = scores[label == 1], weight[label == 1]
    t, v = scores[label == 0], weight[label == 0]
    wins = (s[:, None] > t) + 0.5 * (s[:, None] == t)
    auc = (w[:, None] * v * wins).sum() / (w.sum() * v.sum())
    fpr, tpr = [0.0], [0.0]
    for threshold in np.unique(scores)[::-1]:
        fpr.append(v[t >= threshold].sum() / v.sum())
        tpr.append(w[s >= threshold].sum() / w.sum())
    grid = np.unique([*[x for x in fpr if x < max_fpr], max_fpr])
    # Where the curve is upright, its area is that of the upper corner to the right and of the lower one to the left.
    raw = 0.0
    for lo, hi in itertools.pairwise(grid):
        middle = (lo + hi) / 2
        right = int(np.searchsorted(fpr, middle))
        slope = (tpr[right] - tpr[right - 1]) / (fpr[right] - fpr[right - 1])
        raw += (hi - lo) * (tpr[right - 1] + slope * (middle - fpr[right - 1]))
    least = max_fpr**2 / 2
    highest = t[v > 0].max()
    return {
        "auc": auc,
        "partial_auc_raw": raw,
        "partial_auc": 0.5 * (1 + (raw - least) / (max_fpr - least)),
        "tpr0": w[s > highest].sum() / w.sum(),
    }


@pytest.mark.parametrize("digits", [1, 2, 9])
def test_every_replicate_is_that_of_the_pairs(digits: int) -> None:
    scores, label, cell = sample(digits=digits)
    drawn = CellBootstrap.draw(cell, 70, seed=5)
    samples = np.array([label == 1, (label == 1) & (np.arange(len(label)) % 3 == 0)])
    curves = RocOfSamples(scores, label == 1, samples, drawn)
    found = {name: np.concatenate([curves.under(w)[name] for w in drawn], axis=1) for name in NUMBERS}
    weights = np.concatenate(list(drawn), axis=1)[drawn.number]
    for i, mask in enumerate(samples):
        kept = mask | (label == 0)
        for r in range(70):
            wanted = by_pairs(scores[kept], label[kept], weights[kept, r].astype(float), 0.01)
            for name in NUMBERS:
                assert found[name][i, r] == pytest.approx(wanted[name], abs=1e-9), (name, i, r)


def test_at_equal_weights_the_areas_are_sklearns() -> None:
    for seed, digits in ((1, 1), (2, 3), (3, 9)):
        scores, label, cell = sample(5000, seed, digits)
        found = roc_by_cell(scores, label == 1, {"all": label == 1}, CellBootstrap.draw(cell, 40, 0))["all"]
        assert found["auc"].value == pytest.approx(roc_auc_score(label, scores), abs=1e-12)
        assert found["partial_auc"].value == pytest.approx(roc_auc_score(label, scores, max_fpr=0.01), abs=1e-12)
        fpr, tpr, _ = roc_curve(label, scores, drop_intermediate=False)
        assert found["tpr0"].value == pytest.approx(tpr[fpr == 0].max())


def test_perfect_scores_reach_one_and_useless_ones_a_half() -> None:
    label = np.repeat([0, 1], 50)
    cell = np.tile(np.arange(25), 4)
    best = roc_by_cell(label.astype(float), label == 1, {"a": label == 1}, CellBootstrap.draw(cell, 50, 0))["a"]
    assert [best[name].value for name in NUMBERS] == pytest.approx([1, 1, 0.01, 1])
    useless = roc_by_cell(np.ones(100), label == 1, {"a": label == 1}, CellBootstrap.draw(cell, 50, 0))["a"]
    assert [useless[name].value for name in NUMBERS] == pytest.approx([0.5, 0.5, 0.01**2 / 2, 0])


def test_a_sample_without_positives_has_no_numbers() -> None:
    scores, label, cell = sample()
    nobody = np.zeros(len(label), bool)
    drawn = CellBootstrap.draw(cell, 30, 0)
    assert roc_by_cell(scores, label == 1, {"none": nobody}, drawn) == {}
    assert list(roc_by_cell(scores, label == 1, {"none": nobody, "all": label == 1}, drawn)) == ["all"]


def test_replicates_that_lack_a_class_are_left_out() -> None:
    """Positives of one cell: a third of the replicates has none of them."""
    scores, label, _ = sample()
    cell = np.where(label == 1, 0, 1 + np.arange(len(label)) % 5)
    found = auc_by_cell(scores, label, cell, n_replicates=500)
    assert np.isfinite([found.lo, found.hi]).all()
    assert found.lo <= found.value <= found.hi


def test_the_interval_is_the_percentiles_of_cells_drawn_independently() -> None:
    scores, label, cell = sample(2000, seed=9)
    found = auc_by_cell(scores, label, cell, n_replicates=1000, seed=1)
    rng = np.random.default_rng(77)
    known = np.unique(cell)
    replicates = []
    for _ in range(600):
        rows = np.concatenate([np.flatnonzero(cell == c) for c in rng.choice(known, len(known))])
        replicates.append(roc_auc_score(label[rows], scores[rows]))
    lo, hi = np.percentile(replicates, [2.5, 97.5])
    assert (found.lo, found.hi) == pytest.approx((lo, hi), abs=0.15 * (hi - lo))


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


@pytest.mark.parametrize("n_replicates", [1, BLOCK, BLOCK + 1, 200])
def test_each_replicate_draws_as_many_cells_as_there_are(n_replicates: int) -> None:
    drawn = CellBootstrap.draw(np.array([7, 7, 3, 9, 3, 100]), n_replicates, seed=0)
    weights = np.concatenate(list(drawn), axis=1)
    assert weights.shape == (4, n_replicates)
    assert (weights.sum(axis=0) == 4).all()
    assert drawn.number.tolist() == [1, 1, 0, 2, 0, 3]


def test_totals_are_those_of_the_cells_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.bootstrap.CELLS", 7)  # three rounds, the last of which is short
    rng = np.random.default_rng(4)
    cells, row, chosen = rng.integers(0, 18, 200), rng.integers(0, 5, 200), rng.random(200) < 0.6
    drawn = CellBootstrap.draw(np.append(cells, range(18)), BLOCK + 3, seed=1)
    weights = np.concatenate(list(drawn), axis=1)
    truth = np.zeros((5, BLOCK + 3))
    for i in np.flatnonzero(chosen):
        truth[row[i]] += weights[cells[i]]
    kept = np.append(chosen, np.zeros(18, dtype=bool))
    assert (drawn.totals(drawn.by_cell(np.append(row, np.zeros(18, dtype=int)), 5, kept)) == truth).all()


def test_every_cell_is_drawn_as_often_as_the_next() -> None:
    weights = np.concatenate(list(CellBootstrap.draw(np.arange(50), 4000, seed=2)), axis=1)
    assert weights.mean(axis=1) == pytest.approx(np.ones(50), abs=0.08)
    assert weights.var(axis=1) == pytest.approx(np.full(50, 1 - 1 / 50), abs=0.12)


def test_the_same_seed_draws_the_same_cells() -> None:
    cell = np.arange(30)
    one, same, other = (next(iter(CellBootstrap.draw(cell, 10, seed))) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_no_object_cannot_be_resampled() -> None:
    with pytest.raises(AnalysisError, match="no object to resample"):
        CellBootstrap.draw(np.array([], dtype=np.int64), 10, 0)


def test_percentiles_are_numpys_whatever_is_missing() -> None:
    values = np.random.default_rng(0).random((6, 40))
    values[1, :7], values[2, 1:], values[3, :] = np.nan, np.nan, np.nan
    found = percentile_ends(values)
    for row, ends in zip(values, found, strict=True):
        known = row[np.isfinite(row)]
        wanted = np.percentile(known, [2.5, 97.5]) if len(known) else [np.nan, np.nan]
        assert ends == pytest.approx(wanted, nan_ok=True)
