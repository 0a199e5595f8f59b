"""The shortcut audit: each feature alone, and classifiers that see only metadata or only the border.

The verdict comes from the lower bound of the AUC after matching (`matching`), or of the raw AUC where too few positives
could be matched. Limits are those of the design: below 0.60 green, up to 0.70 yellow, above red.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.validation.auc import FoldedAuc, folded_auc
from etl.validation.classifier import out_of_fold_scores
from etl.validation.matching import Pairs
from etl.validation.objects import AUDIT_FEATURES, CONDITIONS
from etl.validation.report import FeatureAudit

GREEN_BELOW = 0.60
YELLOW_UP_TO = 0.70
EXPECTED_PHYSICS = frozenset(
    {"audit_asymmetry_r", "audit_annulus_mean_r", "audit_annulus_max_r", "audit_annulus_std_r"}
)
"""What arcs themselves change; red is then no fault."""

METADATA_CLASSIFIER = "metadata_only"
BORDER_CLASSIFIER = "border_only"


@dataclass(frozen=True)
class AuditSettings:
    """Bootstrap of the audit, and how many matched positives it wants."""

    n_bootstrap: int
    seed: int
    min_matched_positives: int


def audit_shortcuts(objects: pd.DataFrame, pairs: Pairs, settings: AuditSettings) -> tuple[FeatureAudit, ...]:
    """Audit every feature and both classifiers; one that has no values in a class is left out.

    Parameters
    ----------
    objects
        One row per sound cutout: label, healpix_128, `AUDIT_FEATURES`, `CONDITIONS`, and columns ``border_*``.
    pairs
        Matched rows of `objects`.
    """
    border = [name for name in objects.columns if name.startswith("border_")]
    has_conditions = objects[list(CONDITIONS)].notna().all(axis=1).to_numpy()
    audits = [_feature(objects, pairs, settings, name) for name in AUDIT_FEATURES]
    audits.append(_classifier(objects, pairs, settings, (METADATA_CLASSIFIER, CONDITIONS, has_conditions)))
    audits.append(
        _classifier(objects, pairs, settings, (BORDER_CLASSIFIER, tuple(border), np.ones(len(objects), bool)))
    )
    return tuple(audit for audit in audits if audit is not None)


def verdict_of(lower_bound: float) -> str:
    """Green, yellow or red by the lower bound of a folded AUC."""
    if lower_bound < GREEN_BELOW:
        return "green"
    return "yellow" if lower_bound <= YELLOW_UP_TO else "red"


def _feature(objects: pd.DataFrame, pairs: Pairs, settings: AuditSettings, name: str) -> FeatureAudit | None:
    values = objects[name].to_numpy(float)
    kind = "border" if name.startswith("audit_border") else "image"
    every = np.arange(len(objects))
    raw = _judge(objects, every, values, settings)
    matched = _judge(objects, pairs.rows, values[pairs.rows], settings) if _enough(pairs, settings) else None
    return _audit(objects, pairs, (name, kind), np.isfinite(values), (raw, matched))


def _classifier(
    objects: pd.DataFrame,
    pairs: Pairs,
    settings: AuditSettings,
    what: tuple[str, tuple[str, ...], npt.NDArray[np.bool_]],
) -> FeatureAudit | None:
    """Train on all rows that have the columns, and again on the matched rows alone."""
    name, columns, is_usable = what
    kind = "metadata" if name == METADATA_CLASSIFIER else "border"
    judged: list[FoldedAuc | None] = []
    for rows in (np.flatnonzero(is_usable), pairs.rows):
        is_matched_part = len(judged) == 1
        if is_matched_part and not _enough(pairs, settings):
            judged.append(None)
            continue
        features = objects[list(columns)].to_numpy(float)[rows]
        scores = out_of_fold_scores(features, _is_positive(objects)[rows], _cells(objects)[rows], settings.seed)
        judged.append(None if scores is None else _judge(objects, rows, scores, settings))
    return _audit(objects, pairs, (name, kind), is_usable, (judged[0], judged[1]))


def _judge(
    objects: pd.DataFrame, rows: npt.NDArray[np.int64], values: npt.NDArray[np.float64], settings: AuditSettings
) -> FoldedAuc | None:
    return folded_auc(
        values,
        _is_positive(objects)[rows],
        _cells(objects)[rows],
        n_replicates=settings.n_bootstrap,
        seed=settings.seed,
    )


def _audit(
    objects: pd.DataFrame,
    pairs: Pairs,
    feature: tuple[str, str],
    is_used: npt.NDArray[np.bool_],
    judged: tuple[FoldedAuc | None, FoldedAuc | None],
) -> FeatureAudit | None:
    raw, matched = judged
    if raw is None:
        return None
    name, kind = feature
    is_positive = _is_positive(objects)
    return FeatureAudit(
        feature=name,
        kind=kind,
        is_expected_physics=name in EXPECTED_PHYSICS,
        n_positives=int((is_used & is_positive).sum()),
        n_negatives=int((is_used & ~is_positive).sum()),
        n_matched_positives=len(pairs.positive),
        auc_raw=raw.value,
        auc_matched=None if matched is None else matched.value,
        auc_lo=None if matched is None else matched.lo,
        auc_hi=None if matched is None else matched.hi,
        verdict=verdict_of((matched or raw).lo),
    )


def _enough(pairs: Pairs, settings: AuditSettings) -> bool:
    return len(pairs.positive) >= settings.min_matched_positives


def _is_positive(objects: pd.DataFrame) -> npt.NDArray[np.bool_]:
    return np.asarray((objects["label"] == 1).to_numpy(bool))


def _cells(objects: pd.DataFrame) -> npt.NDArray[np.int64]:
    return np.asarray(objects["healpix_128"].to_numpy(np.int64))
