"""Stage 11: thresholds on the validation split, counts, AUC and intervals into rows that the views publish."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator
from sqlalchemy import Connection, Engine, delete, func, insert, select

from analysis.auc import auc_by_cell
from analysis.errors import NoScoresError
from analysis.intervals import ensure_intervals
from analysis.operating import Count, Threshold, choose_threshold, count_all
from analysis.scores import ScoredObjects, read_scores
from db.config import StageConfig
from db.lock import only_one
from db.models import Split
from db.models.evaluation import Metric, OperatingPoint, Tally, TestAccess
from db.models.provenance import Run
from db.models.training import Model, Score
from db.provenance import canonical_config, recorded_run
from training.control import control_manifest
from training.manifest import read_manifest
from training.registry import find_model

INTERVAL_METHOD = "bootstrap by sky cell"
FprTarget = Annotated[float, Field(gt=0, lt=1)]


class EvaluateConfig(StageConfig):
    """What to evaluate a model at."""

    fpr_targets: tuple[FprTarget, ...] = Field(default=(1e-2, 1e-3, 1e-4), min_length=1)
    n_bootstrap: int = Field(default=1000, ge=20, le=100_000)
    seed: int = Field(default=42, ge=0, lt=2**31)

    @field_validator("fpr_targets")
    @classmethod
    def _distinct(cls, targets: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(targets)) < len(targets):
            message = f"{list(targets)} names a target twice"
            raise ValueError(message)
        return targets


@dataclass(frozen=True)
class EvaluationSummary:
    """Whether the test split was read now, and how often it has been."""

    model_id: int
    model_name: str
    was_evaluated: bool
    n_test_accesses: int


def evaluate_model(
    engine: Engine, model: str, config: EvaluateConfig, *, again: bool = False, purpose: str = "evaluate"
) -> EvaluationSummary:
    """Evaluate a model and write the result, and record that the test split was read, and why.

    A model that was evaluated with the same configuration and manifest and has no newer scores is left alone, unless
    `again`.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    NoScoresError
        When a cutout of the splits that are read has no score, or a class is absent there.
    """
    found = find_model(engine, model)
    manifest = read_manifest(engine, found.draw_id, found.scheme_id, found.cutout_version)
    recorded = {"model": found.name, "manifest_sha256": manifest.digest(), **config.model_dump(mode="json")}
    with engine.connect() as connection:
        if not again and _is_current(connection, found.model_id, canonical_config(recorded)[0]):
            return EvaluationSummary(found.model_id, found.name, False, _n_accesses(connection, found.model_id))
    with (
        only_one(engine, f"the evaluation of model {found.name}"),
        recorded_run(engine, command="evaluate", config=recorded) as run,
        engine.begin() as connection,
    ):
        objects = read_scores(connection, found.model_id, found.name)
        if found.is_label_shuffled:
            objects = _with_dealt_labels(engine, found, objects)
        _refuse_incomplete(engine, found, objects)
        connection.execute(insert(TestAccess).values(model_id=found.model_id, run_id=run.run_id, purpose=purpose))
        if not found.is_label_shuffled:
            _replace_operating_points(connection, found.model_id, objects, config)
        _replace_metrics(connection, found.model_id, objects, config)
        return EvaluationSummary(found.model_id, found.name, True, _n_accesses(connection, found.model_id))


def _with_dealt_labels(engine: Engine, control: Model, objects: ScoredObjects) -> ScoredObjects:
    """Give a control's objects the labels that it was dealt: against these, not the true ones, its AUC must be 0.5."""
    dealt = control_manifest(engine, control)
    order = np.searchsorted(dealt.cutout_id, objects.cutout_id)
    known = np.isin(objects.cutout_id, dealt.cutout_id)
    here = objects.where(known)
    none = np.full(len(here.label), "")
    return replace(here, label=dealt.label[order[known]].astype(np.int64), tier=none, discovery=none)


def _is_current(connection: Connection, model_id: int, config_sha256: str) -> bool:
    """Say whether the model was last evaluated with this configuration, and after its last score was written."""
    # A run that was killed has no end; its scores are at least as old as its start.
    scored = select(func.max(func.coalesce(Run.finished_at, Run.started_at))).where(
        Run.run_id.in_(select(Score.run_id).where(Score.model_id == model_id).distinct())
    )
    evaluated = (
        select(TestAccess.accessed_at, Run.config_sha256)
        .join(Run, Run.run_id == TestAccess.run_id)
        .where(TestAccess.model_id == model_id)
        .order_by(TestAccess.access_id.desc())
        .limit(1)
    )
    last_scored, last = connection.scalar(scored), connection.execute(evaluated).first()
    if last_scored is None or last is None:
        return False
    return bool(last.accessed_at >= last_scored and last.config_sha256 == config_sha256)


def _n_accesses(connection: Connection, model_id: int) -> int:
    statement = select(func.count()).select_from(TestAccess).where(TestAccess.model_id == model_id)
    return connection.scalar(statement) or 0


def _refuse_incomplete(engine: Engine, model: Model, objects: ScoredObjects) -> None:
    """Rates of a half-scored split would be rates of whichever cutouts came first."""
    manifest = read_manifest(engine, model.draw_id, model.scheme_id, model.cutout_version)
    for split in (Split.VAL, Split.TEST):
        wanted = manifest.part(split)
        n_missing = int((~np.isin(wanted.cutout_id, objects.cutout_id)).sum())
        if n_missing:
            raise NoScoresError(
                f"model {model.name}: {n_missing:,} of {len(wanted):,} cutouts of the {split} split have no score: "
                f"run `stronglens score {model.name}` first"
            )
        here = objects.label[objects.split == split]
        for label, word in ((0, "negatives"), (1, "positives")):
            if not (here == label).any():
                raise NoScoresError(f"model {model.name}: the {split} split has no {word}; use a draw that reaches it")


def _replace_operating_points(
    connection: Connection, model_id: int, objects: ScoredObjects, config: EvaluateConfig
) -> None:
    connection.execute(delete(OperatingPoint).where(OperatingPoint.model_id == model_id))
    chosen_on = objects.score[(objects.split == Split.VAL) & (objects.label == 0)]
    pairs: set[tuple[int, int]] = set()
    for target in config.fpr_targets:
        threshold = choose_threshold(chosen_on, target)
        point = _insert_point(connection, model_id, threshold)
        counts = [
            count for split in (Split.VAL, Split.TEST) for count in count_all(objects, split, threshold.threshold)
        ]
        connection.execute(insert(Tally), [_tally_row(point, count) for count in counts])
        pairs |= {(count.k, count.n) for count in counts}
    ensure_intervals(connection, pairs)


def _insert_point(connection: Connection, model_id: int, threshold: Threshold) -> int:
    point = connection.scalar(
        insert(OperatingPoint)
        .values(model_id=model_id, split=Split.VAL, **asdict(threshold))
        .returning(OperatingPoint.operating_point_id)
    )
    return int(point or 0)


def _tally_row(point: int, count: Count) -> dict[str, object]:
    return {"operating_point_id": point, **asdict(count)}


def _replace_metrics(connection: Connection, model_id: int, objects: ScoredObjects, config: EvaluateConfig) -> None:
    connection.execute(delete(Metric).where(Metric.model_id == model_id))
    rows = []
    for split in (Split.VAL, Split.TEST):
        here = objects.where(objects.split == split)
        # Headline numbers are of ground-imaging discoveries; a control has none, its labels are dealt.
        headline = (here.label == 0) | np.isin(here.discovery, ["ground_imaging", ""])
        samples = {"auc": headline, "auc_tier_a": headline & ((here.label == 0) | (here.tier == "A"))}
        for name, mask in samples.items():
            part = here.where(mask)
            n_positives = int(part.label.sum())
            if not n_positives:
                continue
            area = auc_by_cell(
                part.score, part.label, part.healpix_128, n_replicates=config.n_bootstrap, seed=config.seed
            )
            rows.append(
                {
                    "model_id": model_id,
                    "split": split,
                    "name": name,
                    **asdict(area),
                    "method": INTERVAL_METHOD,
                    "n_positives": n_positives,
                    "n_negatives": len(part.label) - n_positives,
                }
            )
    connection.execute(insert(Metric), rows)
