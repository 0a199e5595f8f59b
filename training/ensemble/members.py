"""Who may be a member of an ensemble, and what the members say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, select

from db.models import Split
from db.models.training import Model, Score
from training.errors import EnsembleError
from training.manifest import Manifest
from training.registry import find_model

SHARED = ("survey", "draw_id", "scheme_id", "cutout_version", "manifest_sha256")
"""What all members of an ensemble have in common: otherwise one was trained on what another is tested on."""


@dataclass(frozen=True)
class MemberScores:
    """Cutouts that all members scored, by cutout_id, shape (n,), and their scores, shape (n, m)."""

    cutout_id: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    def of(self, cutout_id: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Scores of cutouts that are all there."""
        return np.asarray(self.scores[np.searchsorted(self.cutout_id, cutout_id)])


def find_members(engine: Engine, names: Sequence[str]) -> list[Model]:
    """Return the members by model_id, so that the order in which they are named changes nothing.

    Raises
    ------
    ModelNotFoundError
        When one is not there.
    EnsembleError
        When they cannot be combined.
    """
    members = {model.model_id: model for model in (find_model(engine, name) for name in names)}
    if len(members) < len(names):
        raise EnsembleError(f"members {', '.join(names)} name a model twice: name each once")
    first = members[min(members)]
    for model in members.values():
        if model.kind == "ensemble":
            raise EnsembleError(f"{model.name!r} is an ensemble itself: name its members instead")
        if model.is_label_shuffled:
            raise EnsembleError(f"{model.name!r} is a control, trained on labels that say nothing: leave it out")
        differing = [name for name in SHARED if getattr(model, name) != getattr(first, name)]
        if differing:
            raise EnsembleError(
                f"{model.name!r} and {first.name!r} differ in {', '.join(differing)}: members must have been trained "
                "on one manifest, or what tests one may have taught another"
            )
    return [members[key] for key in sorted(members)]


def read_scores(engine: Engine, model: Model) -> MemberScores:
    """Read the scores of one member, as a table of one column."""
    with engine.connect() as connection:
        found = connection.execute(
            select(Score.cutout_id, Score.score).where(Score.model_id == model.model_id).order_by(Score.cutout_id)
        ).all()
    ids, values = zip(*found, strict=True) if found else ((), ())
    return MemberScores(np.array(ids, dtype=np.int64), np.array(values, dtype=np.float64)[:, np.newaxis])


def in_common(columns: list[MemberScores]) -> MemberScores:
    """Put members side by side, with the cutouts that all of them scored."""
    common = columns[0].cutout_id
    for column in columns[1:]:
        common = np.intersect1d(common, column.cutout_id, assume_unique=True)
    return MemberScores(common, np.hstack([column.of(common) for column in columns]))


def refuse_half_scored(members: list[Model], columns: list[MemberScores], manifest: Manifest) -> None:
    """Check that each member has scored all of val and test, which an ensemble is evaluated on.

    Raises
    ------
    EnsembleError
        When one has not.
    """
    wanted = manifest.cutout_id[manifest.split != Split.TRAIN]
    for model, column in zip(members, columns, strict=True):
        n_missing = int((~np.isin(wanted, column.cutout_id)).sum())
        if n_missing:
            raise EnsembleError(
                f"{model.name!r} has no score of {n_missing:,} of the {len(wanted):,} cutouts of val and test: run "
                f"`stronglens score {model.name}` first"
            )
