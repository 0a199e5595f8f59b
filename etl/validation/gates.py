"""The rules that decide whether a draw's cutouts may be trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from etl.validation.matching import Pairs
from etl.validation.report import FeatureAudit, GateVerdict

MIN_POSITIVES_SOUND = 1.0
MIN_NEGATIVES_SOUND = 0.98
MAX_CORE_RATIO = 1.1
CORE_FEATURE = "audit_core_4px_r"


def judge(
    members: pd.DataFrame, sound: pd.DataFrame, pairs: Pairs, features: Sequence[FeatureAudit]
) -> tuple[GateVerdict, ...]:
    """Apply all rules.

    Parameters
    ----------
    members
        All members of the draw: label, status (missing: not cut), is_sound.
    sound
        The members with a sound cutout, with `CORE_FEATURE`; `pairs` are positions in it.
    """
    return (
        _positives(members),
        _negatives(members),
        _core_ratio(sound, pairs),
        _no_fault(features),
    )


def _positives(members: pd.DataFrame) -> GateVerdict:
    positives = members[members["label"] == 1]
    stored = positives["uri"].notna()
    rejected, uncut = int((positives["status"] == "rejected").sum()), int(positives["status"].isna().sum())
    n_stored, n_sound = int(stored.sum()), int(positives.loc[stored, "is_sound"].sum())
    value = n_sound / n_stored if n_stored else 0.0
    detail = f"{n_sound} of {n_stored} stored positives are sound; {rejected} were rejected when cut, {uncut} not cut"
    return GateVerdict("positives_sound", value, MIN_POSITIVES_SOUND, value >= MIN_POSITIVES_SOUND, detail)


def _negatives(members: pd.DataFrame) -> GateVerdict:
    negatives = members[members["label"] == 0]
    n_all, n_sound = len(negatives), int(negatives["is_sound"].sum())
    value = n_sound / n_all if n_all else 0.0
    detail = f"{n_sound} of {n_all} negatives of the draw have a sound cutout"
    return GateVerdict("negatives_sound", value, MIN_NEGATIVES_SOUND, value >= MIN_NEGATIVES_SOUND, detail)


def _core_ratio(sound: pd.DataFrame, pairs: Pairs) -> GateVerdict:
    core = sound[CORE_FEATURE].to_numpy(float)
    is_positive = (sound["label"] == 1).to_numpy(bool)
    is_matched = len(pairs.positive) > 0
    sides = (core[pairs.positive], core[pairs.negative]) if is_matched else (core[is_positive], core[~is_positive])
    medians = [float(np.nanmedian(side)) if np.isfinite(side).any() else np.nan for side in sides]
    usable = all(np.isfinite(median) and median > 0 for median in medians)
    ratio = max(medians) / min(medians) if usable else float("inf")
    which = f"{len(pairs.positive)} matched pairs" if is_matched else "all objects, since none could be matched"
    detail = f"ratio, larger over smaller, of the classes' median of {CORE_FEATURE}; {which}"
    return GateVerdict("core_ratio", ratio, MAX_CORE_RATIO, ratio <= MAX_CORE_RATIO, detail)


def _no_fault(features: Sequence[FeatureAudit]) -> GateVerdict:
    faults = [feature.feature for feature in features if feature.is_fault]
    detail = f"red features that lensing does not explain: {', '.join(faults) or 'none'}; {len(features)} audited"
    return GateVerdict("no_shortcut", float(len(faults)), 0.0, not faults and bool(features), detail)
