"""The shortcut audit: each feature alone, and classifiers that see only metadata or only the border.

The verdict comes from the lower bound of the AUC after matching (`matching`), or of the raw AUC where too few positives
could be matched; that of the image's noise from what matched objects have left after `adjust`. Limits are those of the
design: below 0.60 green, up to 0.70 yellow, above red. `docs/adr/0013-what-the-audit-judges-by.md` says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from etl.validation.adjust import adjusted
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

JUDGED_ADJUSTED = frozenset({"audit_mad_r"})
"""What arcs leave alone and conditions explain: the noise of the image."""

METADATA_CLASSIFIER = "metadata_only"
BORDER_CLASSIFIER = "border_only"

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


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
        One row per sound cutout: label, healpix_128, type, `AUDIT_FEATURES`, `CONDITIONS`, `adjust.COVARIATES`, and
        columns ``border_*``.
    pairs
        Matched rows of `objects`.
    """
    return _Audit(objects, pairs, settings).run()


def verdict_of(lower_bound: float) -> str:
    """Green, yellow or red by the lower bound of a folded AUC."""
    if lower_bound < GREEN_BELOW:
        return "green"
    return "yellow" if lower_bound <= YELLOW_UP_TO else "red"


@dataclass(frozen=True)
class _Judged:
    """The AUC of one feature by each measure; None where it has none."""

    raw: FoldedAuc | None
    matched: FoldedAuc | None
    adjusted: FoldedAuc | None = None


EXPECTED = (*AUDIT_FEATURES, METADATA_CLASSIFIER, BORDER_CLASSIFIER)
"""All that an audit must judge; what it could not judge is no good sign."""


class _Audit:
    def __init__(self, objects: pd.DataFrame, pairs: Pairs, settings: AuditSettings) -> None:
        self.objects, self.pairs, self.settings = objects, pairs, settings
        self.is_positive: npt.NDArray[np.bool_] = np.asarray((objects["label"] == 1).to_numpy(bool))
        self.cells: Rows = np.asarray(objects["healpix_128"].to_numpy(np.int64))
        self.has_enough = len(pairs.positive) >= settings.min_matched_positives

    def run(self) -> tuple[FeatureAudit, ...]:
        border = tuple(name for name in self.objects.columns if name.startswith("border_"))
        has_conditions = self.objects[list(CONDITIONS)].notna().any(axis=1).to_numpy()
        audits = [self.feature(name) for name in AUDIT_FEATURES]
        audits.append(self.classifier((METADATA_CLASSIFIER, "metadata"), CONDITIONS, has_conditions))
        audits.append(self.classifier((BORDER_CLASSIFIER, "border"), border, np.ones(len(self.objects), bool)))
        return tuple(audit for audit in audits if audit is not None)

    def feature(self, name: str) -> FeatureAudit | None:
        values = self.objects[name].to_numpy(float)
        rows = self.pairs.rows
        matched = self.judge(rows, values[rows]) if self.has_enough else None
        raw = self.judge(np.arange(len(values)), values, is_final=matched is None)
        kind = "border" if name.startswith("audit_border") else "image"
        return self.audit((name, kind), np.isfinite(values), _Judged(raw, matched, self.adjusted(name)))

    def classifier(
        self, what: tuple[str, str], columns: tuple[str, ...], is_usable: npt.NDArray[np.bool_]
    ) -> FeatureAudit | None:
        """Train on all rows that have the columns, and again on the matched rows alone."""
        rows, every = self.pairs.rows, np.flatnonzero(is_usable)
        matched = self.judge(rows, self.scores(rows, columns)) if self.has_enough else None
        raw = self.judge(every, self.scores(every, columns), is_final=matched is None)
        return self.audit(what, is_usable, _Judged(raw, matched))

    def adjusted(self, name: str) -> FoldedAuc | None:
        if not self.has_enough:
            return None
        left = adjusted(self.objects, name)
        n_positives = np.isfinite(left[self.pairs.positive]).sum()
        rows = self.pairs.rows
        return self.judge(rows, left[rows]) if n_positives >= self.settings.min_matched_positives else None

    def scores(self, rows: Rows, columns: tuple[str, ...]) -> Floats:
        features = self.objects[list(columns)].to_numpy(float)[rows]
        found = out_of_fold_scores(features, self.is_positive[rows], self.cells[rows], self.settings.seed)
        return np.full(len(rows), np.nan) if found is None else found

    def judge(self, rows: Rows, values: Floats, *, is_final: bool = True) -> FoldedAuc | None:
        """Only what may decide is bootstrapped: all of half a million objects would take minutes."""
        return folded_auc(
            values,
            self.is_positive[rows],
            self.cells[rows],
            n_replicates=self.settings.n_bootstrap if is_final else 0,
            seed=self.settings.seed,
        )

    def audit(self, feature: tuple[str, str], is_used: npt.NDArray[np.bool_], judged: _Judged) -> FeatureAudit | None:
        if judged.raw is None:
            return None
        name, kind = feature
        by, deciding = "raw", judged.raw
        if judged.matched is not None:
            by, deciding = "matched", judged.matched
        if judged.adjusted is not None and name in JUDGED_ADJUSTED:
            by, deciding = "adjusted", judged.adjusted
        return FeatureAudit(
            feature=name,
            kind=kind,
            is_expected_physics=name in EXPECTED_PHYSICS,
            n_positives=int((is_used & self.is_positive).sum()),
            n_negatives=int((is_used & ~self.is_positive).sum()),
            n_matched_positives=len(self.pairs.positive),
            auc_raw=judged.raw.value,
            auc_matched=None if judged.matched is None else judged.matched.value,
            auc_lo=deciding.lo,
            auc_hi=deciding.hi,
            verdict=verdict_of(deciding.lo),
            auc_adjusted=None if judged.adjusted is None else judged.adjusted.value,
            judged_by=by,
        )
