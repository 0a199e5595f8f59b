"""The SQL files of the schema: views, functions and triggers, read from beside this module."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

VIEW_ORDER = (
    "manifest",
    "positives",
    "strata",
    "draws",
    "confusers",
    "scores",
    "recall_by_stratum",
    "fpr_by_contaminant",
    "recall_by_condition",
    "threshold_table",
    "model_metrics",
    "models",
    "model_agreement",
    "model_diversity",
    "calibrations",
    "reliability",
    "survey_rates",
    "purity",
    "top_candidates",
    "false_positives",
    "false_negatives",
    "shortcut_audit",
    "gates",
    "quarantine",
    "split_leakage",
    "cross_validation_folds",
    "cross_validation",
    "held_out_scores",
    "discoveries",
    "stage_counts",
)
"""The public views, each after those that it reads."""

_TRIGGER = re.compile(r"TRIGGER (\w+) .*? ON (\w+)\.(\w+)", re.DOTALL)
_FUNCTION = re.compile(r"FUNCTION (\w+)\.(\w+)\(")


@dataclass(frozen=True)
class Definition:
    """One object that a SQL file creates or replaces."""

    kind: str
    schema: str
    name: str
    table: str | None
    sql: str

    @property
    def comment(self) -> str:
        """The header comment of the file, as one paragraph: it is also the COMMENT of a view."""
        lines = [line[2:].strip() for line in self.sql.splitlines() if line.startswith("--")]
        return " ".join(lines)


def views() -> list[Definition]:
    """The views of `results`, in an order in which they can be created."""
    return [
        Definition("view", "results", name, None, (HERE / "views" / f"{name}.sql").read_text()) for name in VIEW_ORDER
    ]


def functions() -> list[Definition]:
    """The functions of the schema."""
    return _functions(HERE / "functions")


def pg_sphere_functions() -> list[Definition]:
    """The functions that are there only where the extension pg_sphere is."""
    return _functions(HERE / "functions" / "pg_sphere")


def _functions(folder: Path) -> list[Definition]:
    found = []
    for path in sorted(folder.glob("*.sql")):
        sql = path.read_text()
        match = _FUNCTION.search(sql)
        if match is None:
            message = f"{path.name}: no CREATE OR REPLACE FUNCTION schema.name("
            raise ValueError(message)
        found.append(Definition("function", match[1], match[2], None, sql))
    return found


def triggers() -> list[Definition]:
    """The triggers of the schema."""
    found = []
    for path in sorted((HERE / "triggers").glob("*.sql")):
        sql = path.read_text()
        match = _TRIGGER.search(sql)
        if match is None:
            message = f"{path.name}: no CREATE OR REPLACE TRIGGER name ... ON schema.table"
            raise ValueError(message)
        found.append(Definition("trigger", match[2], match[1], match[3], sql))
    return found
