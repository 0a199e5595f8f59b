"""What was printed, or follows from what was printed by a way that is not ours.

Intervals: Wilson's by root finding of the score test, Jeffreys' by numerical integration of the Beta density; what
is made of labelled scores by scikit-learn. Five decimals of rates, seven of false-positive rates.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """k of n, with the ends of its 95 % Wilson and Jeffreys intervals."""

    k: int
    n: int
    wilson: tuple[float, float]
    jeffreys: tuple[float, float]


CONFIDENT: dict[float, Rate] = {
    0.3: Rate(100, 112, (0.82202, 0.93764), (0.82568, 0.94008)),
    0.5: Rate(94, 112, (0.76021, 0.89585), (0.76303, 0.89828)),
    0.80587: Rate(89, 112, (0.71066, 0.85908), (0.71290, 0.86139)),
    0.99510: Rate(54, 112, (0.39174, 0.57373), (0.39105, 0.57415)),
}
"""Confident lenses at or above each threshold of the injection study."""

BASELINE_RECALL: dict[str, Rate] = {
    "tier_ab": Rate(300, 688, (0.39945, 0.47335), (0.39932, 0.47331)),
    "tier_a": Rate(29, 48, (0.46310, 0.72979), (0.46307, 0.73312)),
    "tier_b": Rate(271, 640, (0.38573, 0.46206), (0.38557, 0.46199)),
}
"""Recall of the published ResNet-18 at 0.5, by sample."""

BASELINE_FPR: dict[tuple[str, str | None], Rate] = {
    ("negatives", None): Rate(92, 62072, (0.0012088, 0.0018172), (0.0012022, 0.0018085)),
    ("N1", None): Rate(41, 52670, (0.0005739, 0.0010558), (0.0005667, 0.0010450)),
    ("N2", None): Rate(51, 9402, (0.0041283, 0.0071244), (0.0040873, 0.0070656)),
    ("N2", "blue_clumpy"): Rate(0, 690, (0.0, 0.0055365), (0.0, 0.0036326)),
    ("N2", "edge_on"): Rate(44, 5929, (0.0055330, 0.0099472), (0.0054692, 0.0098533)),
    ("N2", "large"): Rate(3, 1031, (0.0009901, 0.0085200), (0.0008202, 0.0077449)),
    ("N2", "ring"): Rate(4, 1752, (0.0008882, 0.0058558), (0.0007711, 0.0054196)),
}
"""False positives of the published ResNet-18 at 0.5, by pool and kind of confuser."""

BASELINE_ECE = 0.00273
"""Expected calibration error of the published ResNet-18, from 15 bins of equal mass."""

CONFUSER_NAMES = {
    "blue_clumpy": "blue_clumpy",
    "edge_on_proxy": "edge_on",
    "large_galaxy": "large",
    "ring_proxy": "ring",
}
"""What the paper calls a kind of confuser, and what we do."""

LABELLED_MEASURES = ("auc", "ece_raw", "log_loss_raw", "log_loss_platt", "brier_skill_raw")
LABELLED: dict[str, tuple[float, ...]] = {
    "p_resnet": (0.99919, 0.01364, 0.03762, 0.03030, 0.92967),
    "p_effnet": (0.99950, 0.00261, 0.02477, 0.02269, 0.95017),
    "p_meta": (0.99989, 0.00164, 0.00874, 0.01087, 0.97983),
    "average of two": (0.99987, 0.00559, 0.01750, 0.01460, 0.96654),
    "average of three": (0.99989, 0.00325, 0.01382, 0.01294, 0.97445),
    "stacking of two": (0.99987, 0.00291, 0.01381, 0.01359, 0.97349),
    "stacking of three": (0.99991, 0.00181, 0.01027, 0.01096, 0.98055),
    "bayes of two": (0.99989, 0.00436, 0.01236, 0.01384, 0.97290),
    "bayes of three": (0.99991, 0.00451, 0.01677, 0.01136, 0.97131),
}
"""The labelled scores on their test split (93 positives, 490 negatives), fits made on their val split:
AUC, calibration error, log loss before and after Platt scaling, Brier skill; by scikit-learn and numpy alone.

`p_meta` follows the mean of the two others so closely (rank correlation 0.9999) that it seems to be made of them; what
is made of all three then counts the same evidence twice.
"""
