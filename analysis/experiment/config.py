"""What an experiment compares, and what is expected of it before it is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from analysis.evaluation.config import EvaluateConfig, FprTarget
from db.config import NAME_PATTERN, StageConfig, load_config
from db.settings import CHECKOUT
from training.config import TrainConfig

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=40)]
Seed = Annotated[int, Field(ge=0)]


class Arm(StageConfig):
    """One recipe (a path from the checkout's root), changed by `overrides`, for each seed."""

    name: Name
    recipe: Path
    overrides: dict[str, Any] = Field(default_factory=dict)
    seeds: tuple[Seed, ...] | None = None
    """None: those of the experiment."""


class EnsembleArm(StageConfig):
    """For each seed, the ensemble of some arms trained with it."""

    name: Name
    arms: tuple[Name, ...] = Field(min_length=2)
    method: Literal["average", "stacking", "bayes"] = "average"


class Control(StageConfig):
    """An arm trained on labels that say nothing."""

    arm: Name
    seed: Seed
    overrides: dict[str, Any] = Field(default_factory=dict)


class Expectation(StageConfig):
    """What is expected of a number: of an arm its mean over the seeds, less that of the arm that `minus` names."""

    says: str = Field(pattern=r"\S")
    of: Literal["recall_tier_a", "auc", "shuffled_auc", "metadata_auc"]
    arm: Name | None = None
    minus: Name | None = None
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _complete(self) -> Expectation:
        if self.at_least is None and self.at_most is None:
            message = f"{self.says!r} has neither at_least nor at_most"
            raise ValueError(message)
        if (self.arm is None) == (self.of in {"recall_tier_a", "auc"}):
            message = f"{self.says!r}: recall_tier_a and auc are of an arm, the other numbers are not"
            raise ValueError(message)
        return self


class ExperimentConfig(StageConfig):
    """One experiment; names of models are `<experiment>-<arm>-s<seed>`."""

    name: Name
    asks: str = Field(pattern=r"\S")
    draw: str = "default"
    scheme: str = "default"
    seeds: tuple[Seed, ...] = Field(min_length=1)
    arms: tuple[Arm, ...] = Field(min_length=1)
    ensembles: tuple[EnsembleArm, ...] = ()
    control: Control | None = None
    fpr_target: FprTarget = 1e-2
    evaluation: EvaluateConfig = EvaluateConfig()
    expectations: tuple[Expectation, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        names = [*(arm.name for arm in self.arms), *(ensemble.name for ensemble in self.ensembles)]
        if len(set(names)) < len(names) or "shuffled" in names:
            message = f"arms and ensembles are {names}: each needs a name of its own, and not 'shuffled'"
            raise ValueError(message)
        if self.fpr_target not in self.evaluation.fpr_targets:
            message = f"fpr_target {self.fpr_target:g} is not among evaluation.fpr_targets"
            raise ValueError(message)
        arms = {arm.name: arm.seeds or self.seeds for arm in self.arms}
        for ensemble in self.ensembles:
            self._refuse_unknown(ensemble.arms, list(arms))
            if not self.seeds_of_ensemble(ensemble):
                message = f"ensemble {ensemble.name}: its arms have no seed in common"
                raise ValueError(message)
        if self.control is not None:
            self._refuse_unknown((self.control.arm,), list(arms))
        for expected in self.expectations:
            self._refuse_unknown([name for name in (expected.arm, expected.minus) if name is not None], names)
            if expected.of == "shuffled_auc" and self.control is None:
                message = f"{expected.says!r} needs a control"
                raise ValueError(message)
        return self

    @staticmethod
    def _refuse_unknown(wanted: tuple[str, ...] | list[str], names: list[str]) -> None:
        unknown = [name for name in wanted if name not in names]
        if unknown:
            message = f"no arm is named {unknown[0]!r} (arms: {', '.join(names)})"
            raise ValueError(message)

    def seeds_of_ensemble(self, ensemble: EnsembleArm) -> list[int]:
        """Seeds that all arms of an ensemble are trained with."""
        seeds = [arm.seeds or self.seeds for arm in self.arms if arm.name in ensemble.arms]
        return [seed for seed in seeds[0] if all(seed in others for others in seeds[1:])]

    def model_name(self, arm: str, seed: int) -> str:
        """Name of the model of an arm or ensemble and a seed."""
        return f"{self.name}-{arm}-s{seed}"


@dataclass(frozen=True)
class Planned:
    """One model of an experiment; without a recipe it is an ensemble of `members`."""

    arm: str
    seed: int
    model: str
    recipe: TrainConfig | None
    members: tuple[str, ...] = ()
    method: Literal["average", "stacking", "bayes"] = "average"


def plan(config: ExperimentConfig) -> list[Planned]:
    """List the models of an experiment, each after its members, the control last.

    Raises
    ------
    ConfigError
        When a recipe cannot be read, or refuses an override.
    """
    arms = {arm.name: arm for arm in config.arms}
    planned = [_network(config, arm, seed, arm.name, {}) for arm in config.arms for seed in (arm.seeds or config.seeds)]
    for ensemble in config.ensembles:
        for seed in config.seeds_of_ensemble(ensemble):
            members = tuple(config.model_name(arm, seed) for arm in ensemble.arms)
            name = config.model_name(ensemble.name, seed)
            planned.append(Planned(ensemble.name, seed, name, None, members, ensemble.method))
    if config.control is not None:
        changed = {**config.control.overrides, "shuffle_labels": True}
        planned.append(_network(config, arms[config.control.arm], config.control.seed, "shuffled", changed))
    return planned


def _network(config: ExperimentConfig, arm: Arm, seed: int, name: str, changed: dict[str, Any]) -> Planned:
    model = config.model_name(name, seed)
    keys = {**arm.overrides, **changed, "name": model, "seed": seed, "draw": config.draw, "scheme": config.scheme}
    return Planned(name, seed, model, load_config(TrainConfig, CHECKOUT / arm.recipe, **keys))
