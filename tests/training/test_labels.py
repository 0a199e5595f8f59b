"""What a recipe teaches, against a recount by hand; the order in which its rules apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.plain_manifest import plain_manifest
from training.config import TrainConfig
from training.deal import deal_labels, flip_labels
from training.errors import ManifestError
from training.labels import domain_mask, taught, unseen_mask
from training.manifest import Manifest

Recipe = Callable[..., TrainConfig]


@pytest.fixture
def manifest() -> Manifest:
    """2,000 cutouts; one in five is a positive, three in four of them tier B, half of those without a letter."""
    rng = np.random.default_rng(3)
    n = 2000
    split = rng.choice(["train", "val", "test"], n, p=[0.6, 0.3, 0.1])
    label = (rng.random(n) < 0.2).astype(np.int8)
    tier = np.where(label == 1, rng.choice(["A", "B"], n, p=[0.25, 0.75]), "")
    nobs_z = rng.integers(1, 12, n).astype(np.float32)
    nobs_z[rng.random(n) < 0.05] = np.nan
    return plain_manifest(
        n,
        split=split,
        label=label,
        tier=tier,
        weight=np.where(tier == "B", 0.5, np.where(label == 1, 1.0, 0.9)).astype(np.float32),
        best_letter_grade=np.where((tier == "A") | ((tier == "B") & (rng.random(n) < 0.5)), "C", ""),
        is_calibration=(split == "val") & (rng.random(n) < 0.5),
        nobs_z=nobs_z,
        psf_fwhm_z_arcsec=rng.normal(1.1, 0.2, n).astype(np.float32),
    )


def test_a_plain_recipe_teaches_the_labels_and_chooses_beside_the_calibration_part(
    manifest: Manifest, recipe: Recipe
) -> None:
    train, choice = taught(manifest, recipe())
    assert train.manifest.cutout_id.tolist() == manifest.cutout_id[manifest.split == "train"].tolist()
    assert choice.manifest.cutout_id.tolist() == [
        key
        for key, split, calibration in zip(manifest.cutout_id, manifest.split, manifest.is_calibration, strict=True)
        if split == "val" and not calibration
    ]
    for part in (train, choice):
        assert part.target.dtype == np.float32
        np.testing.assert_array_equal(part.target, part.manifest.label)


def test_smoothing_moves_the_targets_of_training_positives_and_no_label(manifest: Manifest, recipe: Recipe) -> None:
    train, choice = taught(manifest, recipe(labels={"positive_target": 0.8}))
    plain_train, plain_choice = taught(manifest, recipe())
    np.testing.assert_allclose(train.target, 0.8 * plain_train.target)
    np.testing.assert_array_equal(train.manifest.label, plain_train.manifest.label)
    np.testing.assert_array_equal(choice.target, plain_choice.target)


def test_ungraded_tier_b_leaves_both_parts_and_nothing_else_does(manifest: Manifest, recipe: Recipe) -> None:
    for part, plain in zip(
        taught(manifest, recipe(labels={"ungraded_tier_b": "exclude"})), taught(manifest, recipe()), strict=True
    ):
        gone = np.isin(plain.manifest.cutout_id, part.manifest.cutout_id, invert=True)
        assert gone.sum() > 20
        ungraded = [
            tier == "B" and not grade
            for tier, grade in zip(plain.manifest.tier, plain.manifest.best_letter_grade, strict=True)
        ]
        np.testing.assert_array_equal(gone, ungraded)


@pytest.mark.parametrize("column", ["nobs_z", "psf_fwhm_z_arcsec"])
def test_halves_part_at_the_median_of_the_training_positives(manifest: Manifest, recipe: Recipe, column: str) -> None:
    low = recipe(domain={"column": column, "half": "low"})
    high = recipe(domain={"column": column, "half": "high"})
    values = getattr(manifest, column)
    positives = values[(manifest.split == "train") & (manifest.label == 1)]
    median = sorted(positives[np.isfinite(positives)].tolist())
    middle = (median[(len(median) - 1) // 2] + median[len(median) // 2]) / 2
    np.testing.assert_array_equal(domain_mask(manifest, low), [value <= middle for value in values.tolist()])
    np.testing.assert_array_equal(domain_mask(manifest, high), [value > middle for value in values.tolist()])
    np.testing.assert_array_equal(unseen_mask(manifest, low), domain_mask(manifest, high))
    np.testing.assert_array_equal(unseen_mask(manifest, high), domain_mask(manifest, low))
    for one in (low, high):
        kept = manifest.cutout_id[domain_mask(manifest, one)]
        for part, plain in zip(taught(manifest, one), taught(manifest, recipe()), strict=True):
            assert part.manifest.cutout_id.tolist() == [key for key in plain.manifest.cutout_id if key in set(kept)]


def test_the_whole_sky_is_one_domain(manifest: Manifest, recipe: Recipe) -> None:
    assert domain_mask(manifest, recipe()).all()
    assert not unseen_mask(manifest, recipe()).any()


def test_a_share_of_the_positives_and_as_many_negatives_are_turned_over_in_training_only(
    manifest: Manifest, recipe: Recipe
) -> None:
    train, choice = taught(manifest, recipe(labels={"flip_fraction": 0.1}))
    plain_train, plain_choice = taught(manifest, recipe())
    before, after = plain_train.manifest, train.manifest
    assert before.cutout_id.tolist() == after.cutout_id.tolist()
    n_flips = round(0.1 * before.label.sum())
    assert ((before.label == 1) & (after.label == 0)).sum() == n_flips
    assert ((before.label == 0) & (after.label == 1)).sum() == n_flips
    for label in (0, 1):  # each class keeps its weights
        np.testing.assert_array_equal(
            np.sort(after.weight[after.label == label]), np.sort(before.weight[before.label == label])
        )
    np.testing.assert_array_equal(train.target, after.label)
    np.testing.assert_array_equal(choice.manifest.label, plain_choice.manifest.label)
    other = taught(manifest, recipe(labels={"flip_fraction": 0.1}, seed=43))[0]
    assert (other.manifest.label != after.label).any()
    again = taught(manifest, recipe(labels={"flip_fraction": 0.1}))[0]
    np.testing.assert_array_equal(again.manifest.label, after.label)


def test_who_is_turned_over_follows_from_the_file_not_from_its_place(manifest: Manifest) -> None:
    flipped = flip_labels(manifest, 0.1, 7)
    backwards = flip_labels(manifest.rows(slice(None, None, -1)), 0.1, 7)
    np.testing.assert_array_equal(backwards.label[::-1], flipped.label)


def test_rules_apply_in_their_stated_order(manifest: Manifest, recipe: Recipe) -> None:
    keys = {
        "domain": {"column": "nobs_z", "half": "high"},
        "labels": {"positive_target": 0.8, "ungraded_tier_b": "exclude", "flip_fraction": 0.2},
    }
    train, choice = taught(manifest, recipe(**keys))
    kept = domain_mask(manifest, recipe(**keys)) & ~((manifest.tier == "B") & (manifest.best_letter_grade == ""))
    by_hand = flip_labels(manifest.rows(kept & (manifest.split == "train")), 0.2, recipe().seed)
    np.testing.assert_array_equal(train.manifest.cutout_id, by_hand.cutout_id)
    np.testing.assert_array_equal(train.manifest.label, by_hand.label)
    np.testing.assert_allclose(train.target, np.where(by_hand.label == 1, 0.8, 0))
    # Halves and grades are those of the objects, whatever labels a control was dealt.
    dealt_train, dealt_choice = taught(manifest, recipe(shuffle_labels=True, **keys))
    assert dealt_train.manifest.cutout_id.tolist() == train.manifest.cutout_id.tolist()
    assert dealt_choice.manifest.cutout_id.tolist() == choice.manifest.cutout_id.tolist()
    dealt = deal_labels(manifest, recipe().seed)
    np.testing.assert_array_equal(
        dealt_choice.manifest.label, dealt.label[np.isin(manifest.cutout_id, choice.manifest.cutout_id)]
    )


def test_a_part_without_a_class_is_refused_with_its_numbers(manifest: Manifest, recipe: Recipe) -> None:
    all_calibration = replace(manifest, is_calibration=manifest.split == "val")
    with pytest.raises(ManifestError, match="0 positives and 0 negatives in the part of val that epochs are chosen by"):
        taught(all_calibration, recipe())
    half = {"column": "nobs_z", "half": "high"}
    alike = replace(manifest, nobs_z=np.where(manifest.label == 1, 4, 9).astype(np.float32))
    n_negatives = int(((manifest.split == "train") & (manifest.label == 0)).sum())
    with pytest.raises(ManifestError, match=f"leaves 0 positives and {n_negatives} negatives in the training part"):
        taught(alike, recipe(domain=half))
    unknown = replace(manifest, nobs_z=np.full(2000, np.nan, np.float32))
    with pytest.raises(ManifestError, match="no training positive has a known nobs_z"):
        taught(unknown, recipe(domain={"column": "nobs_z", "half": "low"}))


def test_leaving_out_ungraded_tier_b_is_refused_where_nothing_was_graded(manifest: Manifest, recipe: Recipe) -> None:
    ungraded = replace(manifest, best_letter_grade=np.full(len(manifest), ""))
    n_tier_b = int((manifest.tier == "B").sum())
    with pytest.raises(ManifestError, match=f"none of {n_tier_b} positives of tier B has a letter grade"):
        taught(ungraded, recipe(labels={"ungraded_tier_b": "exclude"}))


def test_turning_over_no_label_is_refused_rather_than_called_a_noisy_training(manifest: Manifest) -> None:
    few = manifest.rows(np.cumsum(manifest.label) <= 20)
    with pytest.raises(ManifestError, match=r"flip_fraction 0\.01 of 20 positives turns over 0"):
        flip_labels(few, 0.01, 1)
    with pytest.raises(ManifestError, match="of 20 positives turns over 8, with 0 negatives"):
        flip_labels(few.rows(few.label == 1), 0.4, 1)
