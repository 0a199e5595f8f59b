"""Rates by condition against plain loops, scipy's exact test and worked numbers of Holm's correction."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from scipy.stats import fisher_exact, hypergeom

from analysis.bootstrap import CellBootstrap
from analysis.evaluation.axes import EDGES, WORDS, bin_numbers, bins_of
from analysis.evaluation.compare import against_the_rest, fisher_two_sided, holm
from analysis.evaluation.conditions import ConditionCount, axes_of, count_conditions
from analysis.evaluation.samples import held_out_samples, samples_of
from analysis.scores import ScoredObjects
from db.models.conditions import AXES
from db.models.evaluation import SAMPLES
from tests.analysis.scored import scored_objects

THRESHOLDS = (0.4, 0.9)


def made_up(n: int = 1500, seed: int = 2) -> ScoredObjects:
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.4).astype(int)
    pool = np.where(label == 1, "positive", rng.choice(["N1", "N2"], n))
    unknown = rng.random(n) < 0.1
    return scored_objects(
        score=rng.random(n),
        label=label,
        pool=pool,
        tier=np.where(label == 1, rng.choice(["A", "B"], n), ""),
        discovery=np.where(label == 1, rng.choice(["ground_imaging", "hst"], n, p=[0.9, 0.1]), ""),
        healpix_128=rng.integers(0, 70, n),
        type=np.where(unknown, "", rng.choice(["SER", "DEV", "REX", "EXP", "PSF"], n)),
        best_letter_grade=np.where(label == 1, rng.choice(["A", "B", "C", ""], n), ""),
        nobs_z=np.where(unknown, np.nan, rng.integers(0, 16, n)),
        psf_fwhm_z_arcsec=np.where(unknown, np.nan, rng.normal(1.1, 0.2, n)),
        galdepth_z_ab=rng.normal(22.8, 0.6, n),
        ebv_mag=rng.exponential(0.08, n),
        dec=rng.uniform(-80, 34, n),
        mag_r_ab=rng.normal(19, 1.5, n),
    )


@pytest.fixture(scope="module")
def objects() -> ScoredObjects:
    return made_up()


@pytest.fixture(scope="module")
def counted(objects: ScoredObjects) -> list[list[ConditionCount]]:
    drawn = CellBootstrap.draw(objects.healpix_128, 300, 1)
    return count_conditions(objects, samples_of(objects), axes_of(objects), THRESHOLDS, drawn)


def label_of(value: object, axis: str) -> str:
    """The bin that a value falls into, from the edges alone."""
    if axis == "grade":
        return str(value) or "ungraded"
    if axis == "type":
        return str(value) or "unknown"
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return "unknown"
    edges = EDGES[axis]
    if number < edges[0]:
        return f"< {edges[0]:g}"
    if number >= edges[-1]:
        return f">= {edges[-1]:g}"
    (found,) = [f"{lo:g} to {hi:g}" for lo, hi in itertools.pairwise(edges) if lo <= number < hi]
    return found


def belongs(objects: ScoredObjects, i: int, sample: str) -> bool:
    if sample in {"negatives", "N1", "N2"}:
        return bool(objects.label[i] == 0) and sample in {"negatives", objects.pool[i]}
    if objects.label[i] == 0:
        return False
    is_ground = objects.discovery[i] == "ground_imaging"
    if sample == "not_ground_imaging":
        return not is_ground
    if sample == "tier_ab_graded":
        return bool(is_ground and (objects.tier[i] == "A" or objects.best_letter_grade[i]))
    return is_ground and sample in {"tier_ab", f"tier_{objects.tier[i].lower()}"}


def test_counts_are_those_of_a_plain_loop(objects: ScoredObjects, counted: list[list[ConditionCount]]) -> None:
    columns = {axis: "best_letter_grade" if axis == "grade" else axis for axis in (*EDGES, *WORDS)}
    for threshold, counts in zip(THRESHOLDS, counted, strict=True):
        wanted: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        for i in range(len(objects)):
            for sample in samples_of(objects):
                if not belongs(objects, i, sample):
                    continue
                wanted[sample, "all", "all"].append(i)
                for axis, column in columns.items():
                    if axis == "grade" and objects.label[i] == 0:
                        continue
                    wanted[sample, axis, label_of(getattr(objects, column)[i], axis)].append(i)
        assert {(c.sample, c.axis, c.bin) for c in counts} == set(wanted)
        assert len(counts) == len(wanted) > 200
        for c in counts:
            rows = wanted[c.sample, c.axis, c.bin]
            assert (c.n, c.k) == (len(rows), sum(objects.score[i] >= threshold for i in rows)), c
            assert c.n_cells == len({int(objects.healpix_128[i]) for i in rows})


def test_the_words_are_those_that_the_database_knows(counted: list[list[ConditionCount]]) -> None:
    assert {c.axis for c in counted[0]} | {"domain"} == set(AXES)
    held = set(held_out_samples(made_up(5), "test"))
    assert {c.sample for c in counted[0]} | held == set(SAMPLES)


def test_the_intervals_are_those_of_resampled_cells(
    objects: ScoredObjects, counted: list[list[ConditionCount]]
) -> None:
    drawn = CellBootstrap.draw(objects.healpix_128, 300, 1)
    weights = np.concatenate(list(drawn), axis=1)[drawn.number].astype(float)
    mask = samples_of(objects)["tier_b"]
    for threshold, counts in zip(THRESHOLDS, counted, strict=True):
        for c in counts:
            if c.sample != "tier_b" or c.axis not in {"all", "dec", "psf_fwhm_z_arcsec"}:
                continue
            rows = mask & (
                [c.axis == "all" or label_of(v, c.axis) == c.bin for v in getattr(objects, c.axis, objects.dec)]
            )
            if c.n < 10 or c.k in {0, c.n}:
                assert c.boot_lo is c.boot_hi is None
                continue
            hit = weights[rows & (objects.score >= threshold)].sum(axis=0)
            ratio = hit / weights[rows].sum(axis=0)
            assert (c.boot_lo, c.boot_hi) == pytest.approx(np.nanpercentile(ratio, [2.5, 97.5]), abs=1e-6)
            assert c.boot_lo <= c.k / c.n <= c.boot_hi


def test_p_values_are_scipys_and_corrected_within_their_sample(counted: list[list[ConditionCount]]) -> None:
    n_compared = 0
    for counts in counted:
        for sample in ("tier_a", "N2"):
            own = [c for c in counts if c.sample == sample]
            raw = []
            for c in own:
                others = [d for d in own if d.axis == c.axis and d.bin != c.bin]
                k, n = sum(d.k for d in others), sum(d.n for d in others)
                if c.n < 10 or n < 10:
                    assert c.p_value is c.p_holm is None
                    continue
                assert c.p_value == pytest.approx(fisher_exact([[c.k, c.n - c.k], [k, n - k]]).pvalue)
                raw.append((c.p_value, c.p_holm))
            n_compared += len(raw)
            raw.sort()
            running = 0.0
            for place, (p, adjusted) in enumerate(raw):
                running = max(running, min(1.0, (len(raw) - place) * p))
                assert adjusted == pytest.approx(running)
    assert n_compared > 100


def test_a_p_value_adds_up_the_tables_that_are_no_likelier() -> None:
    k, n = np.array([3, 9]), np.array([12, 14])
    law = hypergeom(26, 12, 12)
    wanted = sum(law.pmf(x) for x in range(13) if law.pmf(x) <= law.pmf(3) * (1 + 1e-9))
    assert against_the_rest(k, n) == pytest.approx([wanted, wanted])


def test_the_exact_test_is_scipys() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        all_n = int(rng.integers(2, 400))
        n, all_k = (int(rng.integers(0, all_n + 1)) for _ in "12")
        k = int(rng.hypergeometric(all_k, all_n - all_k, n)) if rng.random() < 0.7 else max(0, n + all_k - all_n)
        truth = fisher_exact([[k, n - k], [all_k - k, all_n - all_k - n + k]]).pvalue
        assert fisher_two_sided(k, n, all_k, all_n) == pytest.approx(truth, rel=1e-9, abs=1e-12)


def test_the_exact_test_of_equal_halves_counts_both_tails() -> None:
    assert fisher_two_sided(0, 3, 3, 6) == pytest.approx(2 / 20, rel=1e-14)
    assert fisher_two_sided(2, 3, 3, 6) == pytest.approx(1, rel=1e-14)


def test_the_exact_test_holds_at_the_size_of_the_survey() -> None:
    k, n, all_k, all_n = 1300, 120_000, 4950, 495_000
    chances = hypergeom(all_n, all_k, n).pmf(np.arange(all_k + 1))
    truth = chances[chances <= chances[k]].sum()
    assert 1e-6 < truth < 0.01
    assert fisher_two_sided(k, n, all_k, all_n) == pytest.approx(truth, rel=1e-8)
    assert fisher_two_sided(0, n, all_k, all_n) >= 0


def test_few_objects_are_not_compared() -> None:
    found = against_the_rest(np.array([1, 5, 20]), np.array([9, 10, 40]))
    assert np.isnan(found).tolist() == [True, False, False]
    assert np.isnan(against_the_rest(np.array([5, 1]), np.array([30, 9]))).all()
    assert np.isnan(against_the_rest(np.array([5]), np.array([30]))).all()


def test_holms_correction_of_worked_numbers() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.5])) == pytest.approx([1, 1])
    assert holm(np.array([np.nan, 0.02, np.nan, 0.01])) == pytest.approx([np.nan, 0.02, np.nan, 0.02], nan_ok=True)
    assert len(holm(np.array([]))) == 0


def test_holm_keeps_false_alarms_below_the_level_where_fisher_alone_does_not() -> None:
    rng = np.random.default_rng(0)
    alarms = {"raw": 0, "holm": 0}
    for _ in range(150):
        n = np.full(12, 60)
        p = against_the_rest(rng.binomial(n, 0.5), n)
        alarms["raw"] += bool((p < 0.05).any())
        alarms["holm"] += bool((holm(p) < 0.05).any())
    assert alarms["raw"] > 30
    assert alarms["holm"] <= 14


@pytest.mark.parametrize("axis", sorted(EDGES))
def test_an_edge_belongs_to_the_bin_above_it_and_nothing_falls_between(axis: str) -> None:
    edges = EDGES[axis]
    assert list(edges) == sorted(set(edges))
    values = np.array([edges[0] - 1e-6, *edges, edges[-1] + 1e6, np.nan])
    numbers = bin_numbers(scored_objects(score=np.zeros(len(values)), **{axis: values}), axis)
    bins = bins_of(axis)
    assert len({b.label for b in bins}) == len(bins)
    for value, number in zip(values, numbers, strict=True):
        lo, hi = bins[number].lo, bins[number].hi
        assert np.isnan(value) == (bins[number].label == "unknown")
        assert np.isnan(value) or ((lo is None or lo <= value) and (hi is None or value < hi))


def test_a_word_that_is_not_listed_is_unknown() -> None:
    found = bin_numbers(scored_objects(score=np.zeros(3), type=np.array(["SER", "", "DUP"])), "type")
    assert [bins_of("type")[i].label for i in found] == ["SER", "unknown", "unknown"]


def test_held_out_discoveries_are_a_sample_of_their_own() -> None:
    held = scored_objects(
        score=np.zeros(4),
        label=np.ones(4, int),
        pool=np.full(4, "held_out"),
        discovery=np.full(4, "ground_imaging"),
        split=np.array(["val", "test", "train", ""]),
    )
    assert not any(mask.any() for mask in samples_of(held).values())
    on_val, on_test = (held_out_samples(held, split) for split in ("val", "test"))
    assert {name: mask.tolist() for name, mask in on_val.items()} == {"held_out": [True, False, False, False]}
    assert on_test["held_out"].tolist() == [False, True, False, False]
    assert on_test["held_out_all"].all()
