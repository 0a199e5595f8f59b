"""Which run the published numbers of a split are of, whether they still hold, and who read the test split."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Connection, Select, column, delete, func, insert, select, table
from sqlalchemy.dialects.postgresql import insert as insert_or

from db.models import Split
from db.models.conditions import EvaluatedSplit
from db.models.evaluation import TestAccess
from db.models.provenance import Config, Run
from db.models.training import Model, Score


@dataclass(frozen=True)
class TestReadings:
    """How often the test split was read for a model, and the reading that its published numbers are of, if any."""

    n: int
    shown_at: dt.datetime | None
    shown_purpose: str | None


def is_current(connection: Connection, model: Model, split: Split, config_sha256: str) -> bool:
    """Say whether the numbers of a split are of this configuration, and younger than the model's last score."""
    statement = (
        select(EvaluatedSplit.evaluated_at, Run.config_sha256)
        .join(Run, Run.run_id == EvaluatedSplit.run_id)
        .where(EvaluatedSplit.model_id == model.model_id, EvaluatedSplit.split == split)
    )
    evaluated = connection.execute(statement).first()
    scored = connection.scalar(_last_run(select(Score.run_id).where(Score.model_id == model.model_id)))
    if scored is None or evaluated is None:
        return False
    return bool(evaluated.evaluated_at >= scored and evaluated.config_sha256 == config_sha256)


def still_holds(connection: Connection, model: Model, split: Split, manifest_sha256: str) -> bool:
    """Say whether the objects of a split and their scores are those that its published numbers were made of."""
    manifest = table(
        "manifest", *map(column, ("cutout_id", "draw_id", "scheme_id", "version", "split")), schema="results"
    )
    of_split = (
        select(Score.run_id)
        .join(manifest, manifest.c.cutout_id == Score.cutout_id)
        .where(
            Score.model_id == model.model_id,
            manifest.c.draw_id == model.draw_id,
            manifest.c.scheme_id == model.scheme_id,
            manifest.c.version == model.cutout_version,
            manifest.c.split == split,
        )
    )
    statement = (
        select(EvaluatedSplit.evaluated_at, Config.body["manifest_sha256"].astext.label("manifest_sha256"))
        .join(Run, Run.run_id == EvaluatedSplit.run_id)
        .join(Config, Config.config_sha256 == Run.config_sha256)
        .where(EvaluatedSplit.model_id == model.model_id, EvaluatedSplit.split == split)
    )
    evaluated, scored = connection.execute(statement).first(), connection.scalar(_last_run(of_split))
    if scored is None or evaluated is None:
        return False
    return bool(evaluated.evaluated_at >= scored and evaluated.manifest_sha256 == manifest_sha256)


def _last_run(run_ids: Select[int]) -> Select[dt.datetime]:
    # A run that was killed has no end; its scores are at least as old as its start.
    return select(func.max(func.coalesce(Run.finished_at, Run.started_at))).where(Run.run_id.in_(run_ids.distinct()))


def record(connection: Connection, model: Model, split: Split, run_id: int, test_reason: str | None) -> None:
    """Note that a split was evaluated and, of the test split, that it was read, and why."""
    if split == Split.TEST:
        access = {"model_id": model.model_id, "run_id": run_id, "purpose": test_reason}
        connection.execute(insert(TestAccess).values(access))
    statement = insert_or(EvaluatedSplit).values(model_id=model.model_id, split=split, run_id=run_id)
    now = {"run_id": run_id, "evaluated_at": func.now()}
    connection.execute(statement.on_conflict_do_update(index_elements=["model_id", "split"], set_=now))


def forget(connection: Connection, model: Model, split: Split) -> None:
    """Note that no numbers of a split are published; that it was read stays on record."""
    of_split = (EvaluatedSplit.model_id == model.model_id, EvaluatedSplit.split == split)
    connection.execute(delete(EvaluatedSplit).where(*of_split))


def test_readings(connection: Connection, model: Model) -> TestReadings:
    """Read who read the test split for a model."""
    n = connection.scalar(select(func.count()).select_from(TestAccess).where(TestAccess.model_id == model.model_id))
    shown = connection.execute(
        select(TestAccess.accessed_at, TestAccess.purpose)
        .join(EvaluatedSplit, EvaluatedSplit.run_id == TestAccess.run_id)
        .where(
            TestAccess.model_id == model.model_id,
            EvaluatedSplit.model_id == model.model_id,
            EvaluatedSplit.split == Split.TEST,
        )
        .order_by(TestAccess.access_id.desc())
        .limit(1)
    ).first()
    return TestReadings(n or 0, shown.accessed_at if shown else None, shown.purpose if shown else None)
