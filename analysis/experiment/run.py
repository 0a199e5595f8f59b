"""Train, score and evaluate every model of an experiment; what is there already stays."""

from __future__ import annotations

from sqlalchemy import Engine

from analysis.evaluation.stage import evaluate_model
from analysis.experiment.config import ExperimentConfig, Planned, plan
from db.lock import only_one
from db.models import Split
from db.provenance import recorded_run
from training.ensemble.make import EnsembleConfig, make_ensemble
from training.progress import Progress, silent
from training.score import score_model
from training.train import train_model


def run_experiment(engine: Engine, config: ExperimentConfig, progress: Progress = silent) -> list[Planned]:
    """Run an experiment, and go on where it was interrupted; a second run changes no result.

    The test split is read once for each model, with the experiment as the reason.

    Raises
    ------
    StronglensError
        As the stages do.
    """
    planned = plan(config)
    with (
        only_one(engine, f"the experiment {config.name}"),
        recorded_run(engine, command="experiment run", config=config),
    ):
        for model in planned:
            if model.recipe is not None:
                train_model(engine, model.recipe, progress)
                for split in (Split.VAL, Split.TEST):
                    score_model(engine, model.model, split=split, progress=progress)
            else:
                make_ensemble(engine, EnsembleConfig(name=model.model, members=model.members, method=model.method))
            evaluate_model(engine, model.model, config.evaluation, test_reason=f"experiment {config.name}")
    return planned
