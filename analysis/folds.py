"""Spatial cross-validation: one recipe trained once for each fold of the sky, and tested where it was not trained.

The locked test sky of the recipe's own scheme takes no part. A fold's model is trained, scored and evaluated by the
same stages as any other; what is there already stays, so an interrupted cross-validation goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Select, column, insert, literal_column, select, table
from sqlalchemy.dialects.postgresql import insert as insert_or

from analysis.errors import CrossValidationError
from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.stage import evaluate_model
from analysis.intervals import ensure_intervals
from db.config import StageConfig
from db.lock import only_one
from db.models import Split
from db.models.folds import CrossValidation, Fold
from db.models.sampling import SplitScheme
from db.provenance import canonical_config, recorded_run
from etl.folds import FoldConfig, FoldSummary, assign_folds
from training.config import TrainConfig
from training.manifest import Manifest, named_manifest
from training.progress import Progress, silent
from training.score import score_model
from training.train import train_model

VIEWS = ("cross_validation_folds", "cross_validation")


class CrossvalConfig(StageConfig):
    """A recipe, the folds that it is trained on, and what its models are evaluated at."""

    recipe: TrainConfig
    folds: FoldConfig = FoldConfig()
    evaluation: EvaluateConfig = EvaluateConfig()

    @property
    def name(self) -> str:
        """Name of the cross-validation: the recipe's, and that of the folds."""
        return f"{self.recipe.name}-{self.folds.name or f'cv{self.folds.n_folds}'}"

    def recipe_of(self, fold: int) -> TrainConfig:
        """The recipe of one fold's model."""
        names = {"name": f"{self.name}-f{fold}", "scheme": self.folds.scheme_name(fold)}
        return self.recipe.model_copy(update=names)

    def recipe_sha256(self) -> str:
        """SHA-256 of what all folds share of the recipe."""
        return canonical_config(self.recipe.model_dump(mode="json", exclude={"name", "scheme", "accept_gate"}))[0]


@dataclass(frozen=True)
class CrossvalResult:
    """The folds in order, and how many models were trained now."""

    name: str
    folds: tuple[FoldSummary, ...]
    n_trained: int


def cross_validate(engine: Engine, config: CrossvalConfig, progress: Progress = silent) -> CrossvalResult:
    """Train, score and evaluate a model for each fold; a second run changes nothing.

    Raises
    ------
    CrossValidationError
        When a cross-validation of this name has another recipe, draw or base.
    StronglensError
        As the stages do.
    """
    folds = config.folds.model_copy(update={"base": config.recipe.scheme})
    with only_one(engine, f"the cross-validation {config.name}"):
        summaries = assign_folds(engine, folds)
        manifests = [_manifest(engine, config.recipe_of(fold)) for fold in range(folds.n_folds)]
        with recorded_run(engine, command="crossval", config=config) as run:
            with engine.begin() as connection:
                key = _ensure(connection, config, folds, manifests[0].draw_id, run.run_id)
            n_trained = 0
            for fold, manifest in enumerate(manifests):
                trained = train_model(engine, config.recipe_of(fold), progress)
                n_trained += not trained.was_there
                for split in (Split.VAL, Split.TEST):
                    score_model(engine, trained.name, split=split, progress=progress)
                reason = f"fold {fold} of cross-validation {config.name}"
                evaluate_model(engine, trained.name, config.evaluation, test_reason=reason)
                with engine.begin() as connection:
                    _put_fold(connection, key, fold, manifest, trained.model_id)
            with engine.begin() as connection:
                _pool(connection, key)
    return CrossvalResult(config.name, tuple(summaries), n_trained)


def _manifest(engine: Engine, recipe: TrainConfig) -> Manifest:
    """A fold without one of the classes is found before hours were spent on the others."""
    manifest = named_manifest(engine, recipe.draw, recipe.scheme, recipe.cutout_version)
    manifest.require_both_classes(*Split)
    return manifest


def _ensure(connection: Connection, config: CrossvalConfig, folds: FoldConfig, draw_id: int, run_id: int) -> int:
    wanted = {
        "draw_id": draw_id,
        "base_scheme_id": connection.scalar(select(SplitScheme.scheme_id).where(SplitScheme.name == folds.base)),
        "recipe_sha256": config.recipe_sha256(),
        "n_folds": folds.n_folds,
        "fold_nside": folds.fold_nside,
        "guard_arcsec": folds.guard_arcsec,
        "seed": folds.seed,
    }
    columns = CrossValidation.__table__.c
    there = connection.execute(select(*columns).where(columns.name == config.name)).mappings().first()
    if there is None:
        added = insert(CrossValidation).values(name=config.name, run_id=run_id, **wanted)
        return connection.execute(added.returning(CrossValidation.cross_validation_id)).scalar_one()
    differing = ", ".join(
        f"{key} {there[key]} (asked: {value})" for key, value in wanted.items() if there[key] != value
    )
    if differing:
        raise CrossValidationError(
            f"cross-validation {config.name} exists with {differing}: choose another recipe name or --name"
        )
    return int(there["cross_validation_id"])


def _put_fold(connection: Connection, key: int, fold: int, manifest: Manifest, model_id: int) -> None:
    held_out = manifest.part(Split.TEST)
    row = {
        "scheme_id": manifest.scheme_id,
        "model_id": model_id,
        "n_train": len(manifest.part(Split.TRAIN)),
        "n_test": len(held_out),
        "n_positives": int(held_out.label.sum()),
    }
    statement = insert_or(Fold).values(cross_validation_id=key, fold=fold, **row)
    connection.execute(statement.on_conflict_do_update(index_elements=["cross_validation_id", "fold"], set_=row))


def _pool(connection: Connection, key: int) -> None:
    """Write the intervals of the counts pooled over the folds, which the view joins."""
    view = table("cross_validation", column("cross_validation_id"), column("k"), column("n"), schema="results")
    pairs = select(view.c.k, view.c.n).where(view.c.cross_validation_id == key, view.c.n > 0)
    ensure_intervals(connection, {(row.k, row.n) for row in connection.execute(pairs)})


def read_crossval(engine: Engine, name: str) -> dict[str, list[dict[str, Any]]]:
    """Read what the views say of a cross-validation."""
    found = {}
    with engine.connect() as connection:
        for view in VIEWS:
            source = table(view, column("cross_validation_name"), column("fpr_target"), schema="results")
            rows: Select[Any] = select(literal_column("*")).select_from(source)
            rows = rows.where(source.c.cross_validation_name == name).order_by(source.c.fpr_target.desc().nullsfirst())
            found[view] = [dict(row) for row in connection.execute(rows).mappings()]
    return found
