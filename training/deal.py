"""Labels that a recipe changes on purpose: all of them dealt out again, or a share of them turned over."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from db.models import Split
from training.errors import ManifestError
from training.manifest import Manifest


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
    order = _hash_order(manifest.sha256, str(seed))
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


def flip_labels(manifest: Manifest, fraction: float, seed: int) -> Manifest:
    """Turn over a fraction of the positives, and as many negatives.

    The k-th positive turned over and the k-th negative exchange label and weight, so that both classes keep their
    numbers and weights and only the labels are wrong: `fraction` of the positives are then none. (The fraction of *all*
    labels would drown positives that are one in a hundred.) Whose turn it is follows from the file's hash and the seed.

    Raises
    ------
    ManifestError
        When the fraction of the positives rounds to none, or there are fewer negatives than that.
    """
    order = _hash_order(manifest.sha256, f"flip_{seed}")
    positive, negative = np.flatnonzero(manifest.label == 1), np.flatnonzero(manifest.label != 1)
    n_flips = round(fraction * len(positive))
    if not 0 < n_flips <= len(negative):
        raise ManifestError(
            f"flip_fraction {fraction:g} of {len(positive)} positives turns over {n_flips}, with {len(negative)} "
            "negatives to exchange labels with: choose another fraction or a larger draw"
        )
    to_negative = positive[np.argsort(order[positive])][:n_flips]
    to_positive = negative[np.argsort(order[negative])][:n_flips]
    label, weight = manifest.label.copy(), manifest.weight.copy()
    label[to_negative], label[to_positive] = 0, 1
    weight[to_negative], weight[to_positive] = manifest.weight[to_positive], manifest.weight[to_negative]
    return replace(manifest, label=label, weight=weight)


def _hash_order(keys: npt.NDArray[np.str_], salt: str) -> npt.NDArray[np.uint64]:
    digests = b"".join(hashlib.sha256(f"{key}_{salt}".encode()).digest()[:8] for key in keys.tolist())
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)
