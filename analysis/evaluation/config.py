"""What to evaluate a model at."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from db.config import StageConfig

FprTarget = Annotated[float, Field(gt=0, lt=1)]


class EvaluateConfig(StageConfig):
    """What to evaluate a model at."""

    fpr_targets: tuple[FprTarget, ...] = Field(default=(1e-2, 1e-3, 1e-4), min_length=1)
    n_bootstrap: int = Field(default=2000, ge=20, le=100_000)
    seed: int = Field(default=42, ge=0, lt=2**31)

    @field_validator("fpr_targets")
    @classmethod
    def _distinct(cls, targets: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(targets)) < len(targets):
            message = f"{list(targets)} names a target twice"
            raise ValueError(message)
        return targets
