"""What the models say of the galaxies and lenses that a cross-match found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, column, func, select, table, union_all

from db import sky
from db.models.training import Model
from db.temporary import LensPair, Pair
from etl.crossmatch.errors import CrossmatchError

_SCORES = table(
    "scores",
    column("model_name"),
    column("survey"),
    column("lens_id"),
    column("ls_id"),
    column("score"),
    schema="results",
)


def choose_models(connection: Connection, survey: str, wanted: Sequence[str]) -> list[str]:
    """Return the names of the models whose scores are shown: those wanted, else all but shuffled controls.

    Raises
    ------
    CrossmatchError
        When no finished model of the survey has a wanted name.
    """
    rows = connection.execute(
        select(Model.name, Model.is_label_shuffled)
        .where(Model.survey == survey, Model.status == "succeeded")
        .order_by(Model.model_id)
    ).all()
    names = [row.name for row in rows]
    for name in wanted:
        if name not in names:
            known = ", ".join(names) or "none"
            raise CrossmatchError(f"there is no finished model {name} of survey {survey} (there are: {known})")
    return list(dict.fromkeys(wanted)) or [row.name for row in rows if not row.is_label_shuffled]


def scores_of_found(
    connection: Connection, models: list[str], radius_arcsec: float, n: int
) -> dict[str, NDArray[np.float64]]:
    """Return each model's highest score of what the search found for each of n rows, NaN where it has none; (n,)."""
    of_galaxy = select(Pair.key, _SCORES.c.model_name, _SCORES.c.score).join(_SCORES, _SCORES.c.ls_id == Pair.ls_id)
    of_lens = (
        select(LensPair.key, _SCORES.c.model_name, _SCORES.c.score)
        .join(_SCORES, _SCORES.c.lens_id == LensPair.lens_id)
        .where(LensPair.separation_arcsec <= radius_arcsec + sky.ROUNDING_ARCSEC)
    )
    wanted = _SCORES.c.model_name.in_(models)
    scored = union_all(of_galaxy.where(wanted), of_lens.where(wanted)).subquery("scored")
    highest = select(scored.c.key, scored.c.model_name, func.max(scored.c.score)).group_by(
        scored.c.key, scored.c.model_name
    )
    found = {name: np.full(n, np.nan) for name in models}
    if not models:
        return found
    rows = connection.execute(highest).all()
    names = np.array([row[1] for row in rows], dtype=object)
    keys = np.array([row[0] for row in rows], dtype=np.int64)
    scores = np.array([row[2] for row in rows], dtype=np.float64)
    for name, values in found.items():
        values[keys[names == name]] = scores[names == name]
    return found
