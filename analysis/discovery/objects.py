"""The objects that a model scored, and how each stands to the survey."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from sqlalchemy import Connection, select

from analysis.discovery.survey_quantile import SurveySample, galaxies_stood_for
from analysis.errors import AnalysisError, NoScoresError
from db.models import Split
from db.models.provenance import Config
from db.models.sampling import Draw, Mining
from db.models.training import Model
from db.statements import statement
from etl.draw.rules import DrawConfig

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SurveyObjects:
    """Columns of the statement `discover_objects`, each of shape (n,), by cutout_id."""

    cutout_id: NDArray[np.int64]
    score: NDArray[np.float64]
    healpix_128: NDArray[np.int64]
    split: NDArray[np.str_]
    is_lens: Bools
    is_galaxy: Bools
    is_drawn: Bools
    inclusion_probability: NDArray[np.float64]
    is_trained_on: Bools
    is_near_lens: Bools
    kind: NDArray[np.str_]
    is_eligible: Bools

    def __len__(self) -> int:
        return len(self.cutout_id)

    def where(self, keep: Bools | NDArray[np.int64]) -> SurveyObjects:
        """Return the objects that a mask of shape (n,) keeps, or those of some rows, in their order."""
        return SurveyObjects(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    def digest(self) -> str:
        """SHA-256 of all that they say."""
        digest = hashlib.sha256()
        for field in fields(self):
            column = getattr(self, field.name)
            text = column.dtype.kind == "U"
            digest.update("\n".join(column.tolist()).encode() if text else np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def sample(self) -> SurveySample:
        """Return those that tell of the survey: galaxies that the model was not taught, and that it could meet.

        Members of the draw stand for the galaxies of their kind, pool galaxies that the draw could have taken and known
        lenses that match a galaxy for themselves. Mined negatives and galaxies beyond the draw's rules are left out.
        """
        is_pool = self.is_eligible & ~self.is_near_lens & ~self.is_drawn
        is_there = self.is_drawn | is_pool | (self.is_lens & self.is_galaxy)
        some = self.where(is_there & np.isin(self.split, (Split.VAL, Split.TEST)))
        eligible = some.is_eligible & ~some.is_near_lens & ~some.is_drawn
        weight = galaxies_stood_for(some.inclusion_probability, some.kind, some.is_drawn, eligible)
        return SurveySample(some.score, weight, some.healpix_128)


def read_objects(connection: Connection, model: Model, *, read_test: bool) -> SurveyObjects:
    """Read what a model scored; without `read_test` nothing of the test split.

    Raises
    ------
    NoScoresError
        When it has no scores there.
    AnalysisError
        When the draw was imported without inclusion probabilities.
    """
    rules = _rules(connection, model.draw_id)
    parameters = {
        **(rules or DrawConfig()).sql_parameters(),
        "has_rules": rules is not None,
        "draw_id": model.draw_id,
        "scheme_id": model.scheme_id,
        "model_id": model.model_id,
        "cutout_version": model.cutout_version,
    }
    rows = connection.execute(statement("discover_objects"), parameters).all()
    if not rows:
        raise NoScoresError(f"model {model.name} has no scores: run `stronglens score {model.name}` first")
    names = [field.name for field in fields(SurveyObjects)]
    values = dict(zip(names, zip(*map(tuple, rows), strict=True), strict=True))
    objects = SurveyObjects(**{name: _column(name, values[name]) for name in names})
    objects = objects if read_test else objects.where(objects.split != Split.TEST)
    if not np.isfinite(objects.inclusion_probability[objects.is_drawn]).all():
        raise AnalysisError(
            f"the draw of model {model.name} was imported without inclusion probabilities, so it cannot be weighed "
            "back to the survey: train on a draw made by `stronglens draw`"
        )
    return objects


def _column(name: str, values: tuple[Any, ...]) -> NDArray[Any]:
    if name.startswith("is_"):
        return np.array(values, dtype=np.bool_)
    if name in ("split", "kind"):
        return np.array(values, dtype=np.str_)
    if name in ("score", "inclusion_probability"):
        return np.array(values, dtype=np.float64)
    return np.array(values, dtype=np.int64)


def _rules(connection: Connection, draw_id: int) -> DrawConfig | None:
    """Rules of a draw, or of the one that a mined draw began with; None where they are not of this kind."""
    base = connection.scalar(select(Mining.base_draw_id).where(Mining.draw_id == draw_id))
    if base is not None:
        return _rules(connection, base)
    body = connection.scalar(
        select(Config.body).join(Draw, Draw.config_sha256 == Config.config_sha256).where(Draw.draw_id == draw_id)
    )
    try:
        return DrawConfig.model_validate(body)
    except ValidationError:
        return None
