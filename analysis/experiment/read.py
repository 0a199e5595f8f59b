"""What the views say of the models of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Select, column, literal_column, select, table

from analysis.errors import NoScoresError
from analysis.experiment.config import Expectation, ExperimentConfig, Planned, plan
from db.models import Split
from db.models.provenance import Run
from db.models.training import Model
from etl.validation.shortcuts import METADATA_CLASSIFIER

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """One evaluated model: its operating point and AUC on the test split, and its row among the models."""

    planned: Planned
    model: Row
    auc: Row
    point: Row | None
    """None for a control."""


@dataclass(frozen=True)
class Findings:
    """Every model of an experiment in the order of its plan, and the metadata-only classifier of its draw."""

    outcomes: tuple[Outcome, ...]
    metadata: Row | None
    versions: tuple[str, ...]

    def of_arm(self, arm: str) -> list[Outcome]:
        """The outcomes of one arm, by seed."""
        return [outcome for outcome in self.outcomes if outcome.planned.arm == arm]

    @property
    def arms(self) -> list[str]:
        """Arms and ensembles, without the control."""
        return list(dict.fromkeys(outcome.planned.arm for outcome in self.outcomes if outcome.point is not None))

    def mean_recall(self, arm: str) -> float:
        """Mean over seeds of the recall of tier A."""
        return float(np.mean([recall(outcome) for outcome in self.of_arm(arm)]))

    def mean_auc(self, arm: str) -> float:
        """Mean over seeds of the AUC."""
        return float(np.mean([area(outcome) for outcome in self.of_arm(arm)]))

    def value(self, expected: Expectation) -> float | None:
        """The number that an expectation is about; None where there is none."""
        if expected.of == "metadata_auc":
            return None if self.metadata is None else judged(self.metadata)
        if expected.of == "shuffled_auc":
            return self.mean_auc("shuffled")
        mean = self.mean_auc if expected.of == "auc" else self.mean_recall
        return mean(str(expected.arm)) - (mean(expected.minus) if expected.minus is not None else 0.0)


def recall(outcome: Outcome) -> float:
    """Recall of tier A of one model; NaN where the view gives no rate, with fewer than 10 positives."""
    value = None if outcome.point is None else outcome.point["recall_tier_a"]
    return float("nan") if value is None else float(value)


def area(outcome: Outcome) -> float:
    """AUC of one model; NaN where the view gives none, with fewer than 10 positives (or negatives)."""
    value = outcome.auc["value"]
    return float("nan") if value is None else float(value)


def judged(metadata: Row) -> float | None:
    """The AUC that the audit's verdict is of."""
    value = metadata[f"auc_{metadata['judged_by']}"]
    return None if value is None else float(value)


def read_findings(engine: Engine, config: ExperimentConfig) -> Findings:
    """Read an experiment that was run.

    Raises
    ------
    NoScoresError
        When one of its models was not evaluated on the test split.
    """
    planned = plan(config)
    names = [model.model for model in planned]
    with engine.connect() as connection:
        models = {row["name"]: row for row in _models(connection, names)}
        points = {row["model_name"]: row for row in _points(connection, names, config.fpr_target)}
        areas = {row["model_name"]: row for row in _areas(connection, names)}
        audits = _rows(connection, "shortcut_audit", "draw_name", [config.draw])
        versions = _versions(connection, [row["run_id"] for row in models.values()])
    missing = [name for name in names if name not in areas]
    if missing:
        raise NoScoresError(
            f"experiment {config.name}: model {missing[0]} has no result of the test split: "
            "run `stronglens experiment run` first"
        )
    return Findings(
        tuple(Outcome(model, models[model.model], areas[model.model], points.get(model.model)) for model in planned),
        next((row for row in audits if row["feature"] == METADATA_CLASSIFIER), None),
        versions,
    )


def _models(connection: Connection, names: Sequence[str]) -> list[Row]:
    found = connection.execute(select(Model.__table__).where(Model.name.in_(names))).mappings()
    return [dict(row) for row in found]


def _points(connection: Connection, names: Sequence[str], fpr_target: float) -> list[Row]:
    rows = _rows(connection, "threshold_table", "model_name", names)
    return [row for row in rows if row["split"] == Split.TEST and row["fpr_target"] == fpr_target]


def _areas(connection: Connection, names: Sequence[str]) -> list[Row]:
    rows = _rows(connection, "model_metrics", "model_name", names)
    return [row for row in rows if row["split"] == Split.TEST and row["metric"] == "auc"]


def _rows(connection: Connection, view: str, key: str, wanted: Sequence[str]) -> list[Row]:
    source = table(view, column(key), schema="results")
    rows: Select[Any] = select(literal_column("*")).select_from(source).where(source.c[key].in_(wanted))
    return [dict(row) for row in connection.execute(rows).mappings()]


def _versions(connection: Connection, runs: Sequence[int]) -> tuple[str, ...]:
    """Versions of the code that the models come from; the commit where the checkout had one."""
    found = connection.execute(select(Run.version, Run.git_commit).where(Run.run_id.in_(runs)).distinct())
    return tuple(sorted(f"{version} (commit {(commit or 'unknown')[:12]})" for version, commit in found))
