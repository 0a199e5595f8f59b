"""The rules that decide whether a draw's cutouts may be trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.validation.adjust import adjusted
from etl.validation.matching import Pairs
from etl.validation.report import FeatureAudit, GateVerdict
from etl.validation.shortcuts import EXPECTED

MIN_POSITIVES_SOUND = 1.0
MIN_NEGATIVES_SOUND = 0.98
MAX_CORE_RATIO = 1.1
CORE_FEATURE = "audit_core_4px_r"

Floats = npt.NDArray[np.float64]


def judge(
    members: pd.DataFrame, sound: pd.DataFrame, pairs: Pairs, features: Sequence[FeatureAudit]
) -> tuple[GateVerdict, ...]:
    """Apply all rules.

    Parameters
    ----------
    members
        All members of the draw: label, status (missing: not cut), is_sound.
    sound
        The members with a sound cutout, with `CORE_FEATURE` and the columns of `adjusted`; `pairs` are positions in it.
    """
    return (
        _positives(members),
        _negatives(members),
        _core_ratio(sound, pairs),
        _no_fault(features),
    )


def _positives(members: pd.DataFrame) -> GateVerdict:
    """Every positive of the draw but those rejected when they were cut, which have no pixels to train on."""
    positives = members[members["label"] == 1]
    rejected, uncut = int((positives["status"] == "rejected").sum()), int(positives["status"].isna().sum())
    n_wanted, n_sound = len(positives) - rejected, int(positives["is_sound"].sum())
    value = n_sound / n_wanted if n_wanted else 0.0
    detail = (
        f"{n_sound} of {n_wanted} positives have a sound cutout, {uncut} not cut; {rejected} were rejected when cut"
    )
    return GateVerdict("positives_sound", value, MIN_POSITIVES_SOUND, value >= MIN_POSITIVES_SOUND, detail)


def _negatives(members: pd.DataFrame) -> GateVerdict:
    negatives = members[members["label"] == 0]
    n_all, n_sound = len(negatives), int(negatives["is_sound"].sum())
    value = n_sound / n_all if n_all else 0.0
    detail = f"{n_sound} of {n_all} negatives of the draw have a sound cutout"
    return GateVerdict("negatives_sound", value, MIN_NEGATIVES_SOUND, value >= MIN_NEGATIVES_SOUND, detail)


def _core_ratio(sound: pd.DataFrame, pairs: Pairs) -> GateVerdict:
    """Compare the classes' cores pair by pair, each first freed of what size, profile and conditions explain.

    Magnitude alone leaves cores of one brightness a spread of a factor of three; the median over pairs of what
    `adjusted` leaves is known to half a per cent with 250 of them.
    """
    ratios, which = _core_ratios(sound, pairs)
    known = ratios[np.isfinite(ratios) & (ratios > 0)]
    median = float(np.median(known)) if len(known) else float("inf")
    ratio = max(median, 1 / median)
    detail = f"{CORE_FEATURE} of positives over negatives, {which} ({median:.3f}), folded to at least 1"
    return GateVerdict("core_ratio", ratio, MAX_CORE_RATIO, ratio <= MAX_CORE_RATIO, detail)


def _core_ratios(sound: pd.DataFrame, pairs: Pairs) -> tuple[Floats, str]:
    core = sound[CORE_FEATURE].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        if not len(pairs.positive):
            is_positive = (sound["label"] == 1).to_numpy(bool)
            ratio = _median(core[is_positive]) / _median(core[~is_positive])
            return np.array([ratio]), "ratio of the medians of all objects, since none was matched"
        left = adjusted(sound, CORE_FEATURE)
        ratios = np.exp(left[pairs.positive] - left[pairs.negative])
        n_adjusted = int(np.isfinite(ratios).sum())
        if 2 * n_adjusted >= len(ratios):
            return ratios, f"median of {n_adjusted} matched pairs, adjusted for brightness, shape and conditions"
        return core[pairs.positive] / core[pairs.negative], f"median of {len(ratios)} matched pairs, not adjusted"


def _median(values: Floats) -> np.float64:
    known = values[np.isfinite(values)]
    return np.float64(np.median(known) if len(known) else np.nan)


def _no_fault(features: Sequence[FeatureAudit]) -> GateVerdict:
    """Nothing is red, and everything was judged: a feature that one class lacks altogether is a difference too."""
    faults = [feature.feature for feature in features if feature.is_fault]
    absent = sorted(set(EXPECTED) - {feature.feature for feature in features})
    detail = f"red features that lensing does not explain: {', '.join(faults) or 'none'}; {len(features)} audited"
    if absent:
        detail += f"; not audited, for want of values in both classes or of sky cells: {', '.join(absent)}"
    n_bad = len(faults) + len(absent)
    return GateVerdict("no_shortcut", float(n_bad), 0.0, n_bad == 0, detail)
