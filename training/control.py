"""The control: labels that say nothing, which no honest pipeline can learn from."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine

from db.models import Split
from db.models.training import Model
from training.errors import TrainingError
from training.manifest import Manifest, read_manifest
from training.registry import recipe_of


def deal_labels(manifest: Manifest, seed: int) -> Manifest:
    """Deal labels and weights out again within each split.

    Whether a cutout is dealt a positive follows from its file's hash and the seed. So an image that leaked into two
    splits carries one label in both, and a network that remembers it betrays the leak by an AUC above 0.5 **against the
    dealt labels** of the test split. (Against the true labels a control proves nothing: whatever it answers to chance
    follows some feature of the image, and one that follows the arcs can have any AUC between 0 and 1.) True positives
    and true negatives are dealt the same share of positives, so that nothing of the truth remains.

    Returns
    -------
    Manifest
        The same rows; each split keeps its number of positives and the weights of each class.
    """
    order = _hash_order(manifest.sha256, seed)
    label, weight = np.zeros_like(manifest.label), manifest.weight.copy()
    for number, split in enumerate(Split):
        rows = np.flatnonzero(manifest.split == split)
        positive, negative = rows[manifest.label[rows] == 1], rows[manifest.label[rows] != 1]
        if not len(positive):
            continue
        n_to_positive = round(len(positive) ** 2 / len(rows))
        first_positive = positive[np.argsort(order[positive])][:n_to_positive]
        first_negative = negative[np.argsort(order[negative])][: len(positive) - n_to_positive]
        label[np.concatenate([first_positive, first_negative])] = 1
        chance = np.random.default_rng([seed, number])
        weight[rows[label[rows] == 1]] = chance.permutation(manifest.weight[positive])
        weight[rows[label[rows] != 1]] = chance.permutation(manifest.weight[negative])
    return replace(manifest, label=label, weight=weight)


def control_manifest(engine: Engine, model: Model) -> Manifest:
    """Return a control's manifest with the labels that it was dealt, test split included.

    Raises
    ------
    TrainingError
        When the model is no control.
    """
    if not model.is_label_shuffled:
        raise TrainingError(f"model {model.name!r} is no control: it was trained on the true labels")
    manifest = read_manifest(engine, model.draw_id, model.scheme_id, model.cutout_version)
    return deal_labels(manifest, recipe_of(engine, model).seed)


def _hash_order(keys: npt.NDArray[np.str_], seed: int) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.sha256(f"{key}_{seed}".encode()).digest()[:8] for key in keys.tolist())
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)
