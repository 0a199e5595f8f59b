"""What a validation found, and how it is kept: rows of `imaging.shortcut_feature` and `imaging.gate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert

from db.models.imaging import Gate, ShortcutFeature


@dataclass(frozen=True)
class FeatureAudit:
    """How well one feature, or one classifier, separates the classes; fields as in `imaging.shortcut_feature`."""

    feature: str
    kind: str
    is_expected_physics: bool
    n_positives: int
    n_negatives: int
    n_matched_positives: int
    auc_raw: float
    auc_matched: float | None
    auc_lo: float | None
    auc_hi: float | None
    verdict: str
    auc_adjusted: float | None
    judged_by: str

    @property
    def is_fault(self) -> bool:
        """Red where lensing is no excuse."""
        return self.verdict == "red" and not self.is_expected_physics


@dataclass(frozen=True)
class GateVerdict:
    """One rule of a validation."""

    rule: str
    value: float
    limit: float
    is_passed: bool
    detail: str


@dataclass(frozen=True)
class ValidationReport:
    """The outcome of a validation."""

    draw: str
    version: str
    n_measured_now: int
    features: tuple[FeatureAudit, ...]
    gates: tuple[GateVerdict, ...]
    problems: tuple[str, ...]
    n_matched_positives: int
    is_small: bool
    quarantined: tuple[tuple[str, int], ...] = ()
    """Cutouts of the draw in quarantine, by reason, the most frequent first."""

    @property
    def is_go(self) -> bool:
        """True when every rule passed."""
        return all(gate.is_passed for gate in self.gates)

    @property
    def verdict(self) -> str:
        """GO or NO-GO in one line, with the reasons."""
        failed = ", ".join(gate.rule for gate in self.gates if not gate.is_passed)
        faults = ", ".join(feature.feature for feature in self.features if feature.is_fault)
        note = f" (only {self.n_matched_positives} matched positives: raw values were judged)" if self.is_small else ""
        if self.is_go:
            return f"GO: draw {self.draw}, cutouts {self.version}{note}"
        why = f"; shortcuts: {faults}" if faults else ""
        example = f"; for example {self.problems[0]}" if self.problems else ""
        return f"NO-GO: draw {self.draw}, cutouts {self.version} fails {failed}{why}{example}{note}"


def write_report(connection: Connection, report: ValidationReport, draw_id: int, run_id: int) -> None:
    """Replace the rows of this draw and version; the caller commits."""
    key = {"draw_id": draw_id, "version": report.version}
    for model in (ShortcutFeature, Gate):
        connection.execute(delete(model).where(model.draw_id == draw_id, model.version == report.version))
    if report.features:
        rows = [key | {"run_id": run_id} | asdict(feature) for feature in report.features]
        connection.execute(insert(ShortcutFeature), rows)
    gates = [
        key
        | {
            "rule": gate.rule,
            "value": gate.value,
            "limit_value": gate.limit,
            "is_passed": gate.is_passed,
            "detail": gate.detail,
            "run_id": run_id,
        }
        for gate in report.gates
    ]
    connection.execute(insert(Gate), gates)
