"""What a recipe teaches of a manifest: which cutouts, with which labels, targets and weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.config import DomainConfig, LabelConfig, TrainConfig
from training.deal import deal_labels, flip_labels
from training.errors import ManifestError
from training.manifest import Manifest


@dataclass(frozen=True)
class Taught:
    """Cutouts of one part with the targets of the loss, in [0, 1]; the labels proper are the manifest's."""

    manifest: Manifest
    target: npt.NDArray[np.float32]


def taught(manifest: Manifest, recipe: TrainConfig) -> tuple[Taught, Taught]:
    """Return what the recipe trains on, and what it chooses its epoch by (val without the calibration part).

    In this order: a control's labels are dealt, over the whole manifest; ungraded tier B and the half of the sky that
    is not the recipe's leave both parts; labels of the training part are turned over; its positives' targets are
    smoothed. So the halves and what is left out follow from the objects, never from dealt labels, and nothing but the
    training part is taught anything wrong or smooth.

    Raises
    ------
    ManifestError
        When a part is left without a class, or has too few cutouts to turn labels over.
    """
    dealt = deal_labels(manifest, recipe.seed) if recipe.shuffle_labels else manifest
    kept = graded_mask(manifest, recipe.labels) & domain_mask(manifest, recipe)
    train = dealt.rows(kept & (manifest.split == "train"))
    choice = dealt.rows(kept & (manifest.split == "val") & ~manifest.is_calibration)
    _require_both_classes(train, "training part")
    _require_both_classes(choice, "part of val that epochs are chosen by")
    if recipe.labels.flip_fraction:
        train = flip_labels(train, recipe.labels.flip_fraction, recipe.seed)
    target = np.where(train.label == 1, recipe.labels.positive_target, 0).astype(np.float32)
    return Taught(train, target), Taught(choice, choice.label.astype(np.float32))


def taught_digest(parts: tuple[Taught, Taught]) -> str:
    """SHA-256 over the ids, labels, weights and targets of both parts, hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        for values in (part.manifest.cutout_id, part.manifest.label, part.manifest.weight, part.target):
            digest.update(values.tobytes())
    return digest.hexdigest()


def graded_mask(manifest: Manifest, labels: LabelConfig) -> npt.NDArray[np.bool_]:
    """Rows that stay when positives of tier B without a letter from any paper are left out, or all of them.

    Raises
    ------
    ManifestError
        When no positive of tier B has a letter: the papers' tables are not there, and all of tier B would go.
    """
    if labels.ungraded_tier_b == "include":
        return np.ones(len(manifest), dtype=np.bool_)
    is_tier_b, is_graded = manifest.tier == "B", manifest.best_letter_grade != ""
    if is_tier_b.any() and not (is_tier_b & is_graded).any():
        raise ManifestError(
            f"none of {int(is_tier_b.sum())} positives of tier B has a letter grade, so all of them would be left out: "
            "load the papers' tables first (`stronglens catalog load --table FILE --paper NAME`), or set "
            "`ungraded_tier_b: include`"
        )
    return np.asarray(~is_tier_b | is_graded)


def domain_mask(manifest: Manifest, recipe: TrainConfig) -> npt.NDArray[np.bool_]:
    """Rows of the half that a recipe is trained on; all of them for a recipe of the whole sky.

    The median is that of the training positives, before anything else is left out: recipes that differ in their labels
    share their halves. Rows whose condition is not known are in neither half.

    Raises
    ------
    ManifestError
        When no training positive has a known condition.
    """
    if recipe.domain is None:
        return np.ones(len(manifest), dtype=np.bool_)
    return _half(manifest, recipe.domain, recipe.domain.half == "low")


def unseen_mask(manifest: Manifest, recipe: TrainConfig) -> npt.NDArray[np.bool_]:
    """Rows of the half that a recipe never sees; none for a recipe of the whole sky."""
    if recipe.domain is None:
        return np.zeros(len(manifest), dtype=np.bool_)
    return _half(manifest, recipe.domain, recipe.domain.half != "low")


def _half(manifest: Manifest, domain: DomainConfig, is_low: bool) -> npt.NDArray[np.bool_]:
    values: npt.NDArray[np.float32] = getattr(manifest, domain.column)
    known = values[(manifest.split == "train") & (manifest.label == 1) & ~np.isnan(values)]
    if not len(known):
        raise ManifestError(
            f"no training positive has a known {domain.column}, so it has no halves: train without `domain`"
        )
    median = np.median(known)
    return np.asarray(values <= median if is_low else values > median)


def _require_both_classes(part: Manifest, name: str) -> None:
    n_positives = int((part.label == 1).sum())
    if not 0 < n_positives < len(part):
        raise ManifestError(
            f"the recipe leaves {n_positives} positives and {len(part) - n_positives} negatives in the {name}, both "
            "are needed: change its `labels` or `domain`, or draw on a wider sky"
        )
