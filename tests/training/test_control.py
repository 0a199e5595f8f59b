from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.plain_manifest import plain_manifest
from training.deal import deal_labels
from training.manifest import Manifest


@pytest.fixture
def manifest() -> Manifest:
    rng = np.random.default_rng(0)
    n = 3000
    label = (rng.random(n) < 0.2).astype(np.int8)
    return plain_manifest(
        n,
        split=rng.choice(["train", "val", "test"], n, p=[0.7, 0.15, 0.15]),
        label=label,
        weight=np.where(label == 1, rng.choice([0.5, 1.0], n), 0.9).astype(np.float32),
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_each_split_keeps_its_positives_and_weights_and_forgets_the_truth(manifest: Manifest, split: str) -> None:
    dealt = deal_labels(manifest, seed=7)
    here = manifest.split == split
    old, new = manifest.label[here], dealt.label[here]
    assert new.sum() == old.sum()
    for label in (0, 1):
        before, after = manifest.weight[here][old == label], dealt.weight[here][new == label]
        np.testing.assert_array_equal(np.sort(after), np.sort(before))
    assert abs(new[old == 1].mean() - new[old == 0].mean()) < 0.01


def test_the_seed_decides(manifest: Manifest) -> None:
    np.testing.assert_array_equal(deal_labels(manifest, 7).label, deal_labels(manifest, 7).label)
    assert (deal_labels(manifest, 7).label != deal_labels(manifest, 8).label).any()


def test_an_image_that_leaked_into_two_splits_carries_one_label(manifest: Manifest) -> None:
    train, test = (np.flatnonzero(manifest.split == split) for split in ("train", "test"))
    n = len(test)
    sha256, label = manifest.sha256.copy(), manifest.label.copy()
    sha256[test], label[test] = sha256[train[:n]], label[train[:n]]
    dealt = deal_labels(replace(manifest, sha256=sha256, label=label), seed=7)
    agreement = (dealt.label[test] == dealt.label[train[:n]]).mean()
    assert agreement > 0.97  # by chance it would be 0.68


def test_a_split_without_positives_stays_without(manifest: Manifest) -> None:
    none = replace(manifest, label=np.where(manifest.split == "test", 0, manifest.label).astype(np.int8))
    assert deal_labels(none, 7).label[manifest.split == "test"].sum() == 0
