"""Rows of thresholds, counts and metrics; each split's are replaced by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select

from analysis.evaluation.conditions import ConditionCount
from analysis.intervals import ensure_intervals
from analysis.operating import Count, choose_threshold
from db.models import Base, Split
from db.models.calibration import ReliabilityBin, SurveyRate
from db.models.conditions import ConditionTally
from db.models.evaluation import Metric, OperatingPoint, Tally

Point = tuple[int, float]
"""Key and threshold of an operating point."""


def points_of(connection: Connection, model_id: int) -> list[Point]:
    """Read the operating points of a model, the loosest first."""
    statement = (
        select(OperatingPoint.operating_point_id, OperatingPoint.threshold)
        .where(OperatingPoint.model_id == model_id)
        .order_by(OperatingPoint.fpr_target.desc())
    )
    return [(row.operating_point_id, row.threshold) for row in connection.execute(statement)]


def choose_points(
    connection: Connection, model_id: int, negative_scores: NDArray[np.float64], targets: Sequence[float]
) -> bool:
    """Choose a threshold for each target on the negatives of val; say whether any differs from those that are there.

    Points that stay as they are keep the counts of the splits that are not read now.
    """
    chosen = [
        {"model_id": model_id, "split": Split.VAL, **asdict(choose_threshold(negative_scores, target))}
        for target in targets
    ]
    columns = [OperatingPoint.__table__.c[name] for name in chosen[0]]
    own = OperatingPoint.model_id == model_id
    there = [dict(row) for row in connection.execute(select(*columns).where(own)).mappings()]
    if sorted(map(repr, there)) == sorted(repr(row | {"split": str(row["split"])}) for row in chosen):
        return False
    connection.execute(delete(OperatingPoint).where(own))
    connection.execute(insert(OperatingPoint), chosen)
    return True


def replace_counts(
    connection: Connection,
    split: Split,
    points: Sequence[Point],
    counts: Sequence[Sequence[Count]],
    conditions: Sequence[Sequence[ConditionCount]],
) -> None:
    """Write the counts of a split, one sequence for each point, in place of those that are there."""
    keys = [key for key, _ in points]
    _delete_counts(connection, keys, split)
    pairs = set()
    written: tuple[tuple[type[Base], Sequence[Sequence[Count | ConditionCount]]], ...] = (
        (Tally, counts),
        (ConditionTally, conditions),
    )
    for model, parts in written:
        rows = [
            {"operating_point_id": key, "split": split, **asdict(count)}
            for key, part in zip(keys, parts, strict=True)
            for count in part
        ]
        connection.execute(insert(model), rows)
        pairs |= {(row["k"], row["n"]) for row in rows}
    ensure_intervals(connection, pairs)


def replace_metrics(connection: Connection, model_id: int, split: Split, rows: Sequence[dict[str, Any]]) -> None:
    """Write the metrics of a split in place of those that are there."""
    connection.execute(delete(Metric).where(Metric.model_id == model_id, Metric.split == split))
    connection.execute(insert(Metric), [{"model_id": model_id, "split": split, **row} for row in rows])


def forget_results(connection: Connection, model_id: int, split: Split) -> None:
    """Delete what is published of a split."""
    _delete_counts(connection, [key for key, _ in points_of(connection, model_id)], split)
    of_split = (ReliabilityBin.model_id == model_id, ReliabilityBin.split == split)
    connection.execute(delete(ReliabilityBin).where(*of_split))
    connection.execute(delete(Metric).where(Metric.model_id == model_id, Metric.split == split))


def _delete_counts(connection: Connection, keys: Sequence[int], split: Split) -> None:
    for model in (Tally, ConditionTally, SurveyRate):
        connection.execute(delete(model).where(model.operating_point_id.in_(keys), model.split == split))
