"""Stage 11: thresholds on the validation split, counts, AUC and intervals into rows that the views publish."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from sqlalchemy import Connection, Engine, delete, func, insert, select

from analysis.auc import auc_by_cell
from analysis.errors import NoScoresError
from analysis.intervals import ensure_intervals
from analysis.operating import Count, Threshold, choose_threshold, count_all
from analysis.scores import ScoredObjects, read_scores
from db.config import StageConfig
from db.models import Split
from db.models.evaluation import Metric, OperatingPoint, Tally, TestAccess
from db.models.provenance import Run
from db.models.training import Model, Score
from db.provenance import recorded_run
from training.control import control_manifest
from training.registry import find_model

INTERVAL_METHOD = "bootstrap by sky cell"


class EvaluateConfig(StageConfig):
    """What to evaluate a model at."""

    fpr_targets: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    n_bootstrap: int = 1000
    seed: int = 42
    purpose: str = "evaluate"


@dataclass(frozen=True)
class EvaluationSummary:
    """Whether the test split was read now, and how often it has been."""

    model_id: int
    model_name: str
    was_evaluated: bool
    n_test_accesses: int


def evaluate_model(engine: Engine, model: str, config: EvaluateConfig, *, again: bool = False) -> EvaluationSummary:
    """Evaluate a model and write the result; an evaluated model without newer scores is left alone unless `again`.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    NoScoresError
        When it has no scores, or none for the negatives or positives of the splits that are read.
    """
    found = find_model(engine, model)
    with engine.connect() as connection:
        if not again and _is_current(connection, found.model_id):
            return EvaluationSummary(found.model_id, found.name, False, _n_accesses(connection, found.model_id))
    with (
        recorded_run(engine, command="evaluate", config={"model": found.name, **config.model_dump(mode="json")}) as run,
        engine.begin() as connection,
    ):
        objects = read_scores(connection, found.model_id, found.name)
        if found.is_label_shuffled:
            objects = _with_dealt_labels(engine, found, objects)
        _refuse_incomplete(objects, found.name)
        connection.execute(
            insert(TestAccess).values(model_id=found.model_id, run_id=run.run_id, purpose=config.purpose)
        )
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
    return replace(here, label=dealt.label[order[known]].astype(np.int64), tier=np.full(len(here.label), ""))


def _is_current(connection: Connection, model_id: int) -> bool:
    """Say whether the model was evaluated after its last score was written."""
    scored = select(func.max(Run.finished_at)).where(
        Run.run_id.in_(select(Score.run_id).where(Score.model_id == model_id).distinct())
    )
    evaluated = select(func.max(TestAccess.accessed_at)).where(TestAccess.model_id == model_id)
    last_scored, last_evaluated = connection.scalar(scored), connection.scalar(evaluated)
    return last_scored is not None and last_evaluated is not None and last_evaluated >= last_scored


def _n_accesses(connection: Connection, model_id: int) -> int:
    statement = select(func.count()).select_from(TestAccess).where(TestAccess.model_id == model_id)
    return connection.scalar(statement) or 0


def _refuse_incomplete(objects: ScoredObjects, name: str) -> None:
    for split in (Split.VAL, Split.TEST):
        here = objects.split == split
        for label, word in ((0, "negatives"), (1, "positives")):
            if not (here & (objects.label == label)).any():
                raise NoScoresError(
                    f"model {name} has no scored {word} in the {split} split: run `stronglens score {name}` first, "
                    "or use a draw that reaches that split"
                )


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
        samples = {"auc": np.ones(len(here.label), dtype=bool), "auc_tier_a": (here.label == 0) | (here.tier == "A")}
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
