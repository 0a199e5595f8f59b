"""The stage `stronglens agreement`: on which objects two models err, each at its own threshold for one rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select

from analysis.diversity import Compared, Points, Scored, compare, shared_targets
from analysis.errors import AnalysisError, NoScoresError, ReasonMissingError
from analysis.intervals import ensure_intervals
from analysis.scores import ScoredObjects, read_scores
from db.lock import only_one
from db.models import Split
from db.models.ensemble import Diversity
from db.models.evaluation import OperatingPoint, TestAccess
from db.models.provenance import Config, Run
from db.models.training import Model, Score
from db.provenance import recorded_run
from training.manifest import Manifest, read_manifest
from training.registry import find_model


@dataclass(frozen=True)
class Pair:
    """Two models, that of the lower key first, on one split."""

    a: Model
    b: Model
    split: Split

    def stored(self) -> tuple[ColumnElement[bool], ...]:
        """Conditions that choose its rows."""
        return (
            Diversity.model_a_id == self.a.model_id,
            Diversity.model_b_id == self.b.model_id,
            Diversity.split == self.split,
        )


@dataclass(frozen=True)
class AgreementSummary:
    """The models by key, and what was compared now."""

    model_ids: tuple[int, ...]
    model_names: tuple[str, ...]
    n_compared: int


def compare_models(
    engine: Engine, names: Sequence[str], *, test_reason: str | None = None, again: bool = False
) -> AgreementSummary:
    """Compare models pair by pair on val and, for a reason, on the test split, and write what was counted.

    A pair that was compared at these thresholds, on this manifest and after the last scores is left alone, unless
    `again`. Reading the test split goes on record for each model.

    Raises
    ------
    ModelNotFoundError
        When a model is not there.
    NoScoresError
        When a model was not evaluated, or has not scored the splits that are read.
    AnalysisError
        When models cannot be compared.
    ReasonMissingError
        When the reason is blank.
    """
    if test_reason is not None and not test_reason.strip():
        raise ReasonMissingError("the test split is read for a reason, and this one is blank: say why, in a few words")
    models = _comparable(engine, names)
    first = models[0]
    manifest = read_manifest(engine, first.draw_id, first.scheme_id, first.cutout_version)
    splits = (Split.VAL,) if test_reason is None else (Split.VAL, Split.TEST)
    with engine.connect() as connection:
        points = {model.model_id: _points(connection, model) for model in models}
        pairs = [Pair(a, b, split) for split in splits for a, b in combinations(models, 2)]
        _refuse_without_shared_target(pairs, points)
        stale = [pair for pair in pairs if again or not _is_current(connection, pair, points, manifest.digest())]
    summary = AgreementSummary(
        tuple(model.model_id for model in models), tuple(model.name for model in models), len(stale)
    )
    if not stale:
        return summary
    recorded = {
        "models": summary.model_names,
        "splits": [split for split in splits if any(pair.split == split for pair in stale)],
        "manifest_sha256": manifest.digest(),
    }
    with (
        only_one(engine, "the agreement of models"),
        recorded_run(engine, command="agreement", config=recorded) as run,
        engine.begin() as connection,
    ):
        for split in splits:
            here = [pair for pair in stale if pair.split == split]
            scores = {
                model.model_id: _scores(connection, model, manifest.part(split), split)
                for model in models
                if any(model.model_id in (pair.a.model_id, pair.b.model_id) for pair in here)
            }
            for pair in here:
                of_a, of_b = (Scored(scores[key], points[key]) for key in (pair.a.model_id, pair.b.model_id))
                _replace(connection, pair, compare(of_a, of_b), run.run_id)
            if split == Split.TEST and here:
                purpose = f"agreement: {test_reason}"
                accesses = [{"model_id": key, "run_id": run.run_id, "purpose": purpose} for key in scores]
                connection.execute(insert(TestAccess), accesses)
    return summary


def _comparable(engine: Engine, names: Sequence[str]) -> list[Model]:
    found = {model.model_id: model for model in (find_model(engine, name) for name in names)}
    models = [found[key] for key in sorted(found)]
    if len(models) < 2:
        raise AnalysisError(f"{len(models)} model{'' if len(models) == 1 else 's'} to compare: name two or more")
    for model in models:
        if model.is_label_shuffled:
            raise AnalysisError(f"model {model.name} is a control, trained on labels that say nothing: leave it out")
        for name in ("survey", "draw_id", "scheme_id", "cutout_version"):
            if getattr(model, name) != getattr(models[0], name):
                raise AnalysisError(
                    f"models {models[0].name} and {model.name} differ in {name}: only models of the same objects agree "
                    "or disagree on them"
                )
    return models


def _points(connection: Connection, model: Model) -> Points:
    statement = select(OperatingPoint.fpr_target, OperatingPoint.threshold)
    rows = connection.execute(statement.where(OperatingPoint.model_id == model.model_id))
    points = {row.fpr_target: row.threshold for row in rows}
    if not points:
        raise NoScoresError(f"model {model.name} was not evaluated: run `stronglens evaluate {model.name}` first")
    return points


def _refuse_without_shared_target(pairs: list[Pair], points: dict[int, Points]) -> None:
    for pair in pairs:
        if not shared_targets(points[pair.a.model_id], points[pair.b.model_id]):
            raise AnalysisError(
                f"models {pair.a.name} and {pair.b.name} have no false-positive rate in common: evaluate both with one "
                "configuration"
            )


def _is_current(connection: Connection, pair: Pair, points: dict[int, Points], manifest_sha256: str) -> bool:
    rows = connection.execute(
        select(Diversity.fpr_target, Diversity.threshold_a, Diversity.threshold_b, Run.started_at, Config.body)
        .join(Run, Run.run_id == Diversity.run_id)
        .join(Config, Config.config_sha256 == Run.config_sha256)
        .where(*pair.stored())
    ).all()
    a, b = points[pair.a.model_id], points[pair.b.model_id]
    wanted = {(target, a[target], b[target]) for target in shared_targets(a, b)}
    if {(row.fpr_target, row.threshold_a, row.threshold_b) for row in rows} != wanted:
        return False
    # A run that was killed has no end; its scores are at least as old as its start.
    of_both = select(Score.run_id).where(Score.model_id.in_((pair.a.model_id, pair.b.model_id))).distinct()
    scored = connection.scalar(
        select(func.max(func.coalesce(Run.finished_at, Run.started_at))).where(Run.run_id.in_(of_both))
    )
    return scored is not None and all(
        row.started_at >= scored and row.body["manifest_sha256"] == manifest_sha256 for row in rows
    )


def _scores(connection: Connection, model: Model, part: Manifest, split: Split) -> ScoredObjects:
    """Scores of one split's part of the manifest, all of them, in its order."""
    scored = read_scores(connection, model.model_id, model.name, (split,))
    objects = scored.where(np.isin(scored.cutout_id, part.cutout_id))
    n_missing = len(part) - len(objects.cutout_id)
    if n_missing:
        raise NoScoresError(
            f"model {model.name}: {n_missing:,} of {len(part):,} cutouts of the {split} split have no score: "
            f"run `stronglens score {model.name}` first"
        )
    return objects


def _replace(connection: Connection, pair: Pair, compared: list[Compared], run_id: int) -> None:
    connection.execute(delete(Diversity).where(*pair.stored()))
    key = {"model_a_id": pair.a.model_id, "model_b_id": pair.b.model_id, "split": pair.split, "run_id": run_id}
    connection.execute(insert(Diversity), [key | row.values() for row in compared])
    ensure_intervals(
        connection,
        {(k, row.counts.n) for row in compared for k in row.counts.right},
    )
