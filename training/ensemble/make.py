"""The stage `stronglens ensemble make`: a model whose scores are made of those of its members."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator
from sqlalchemy import Connection, Engine, insert, select

from db.config import NAME_PATTERN, StageConfig
from db.copy import copy_arrow, psycopg_connection
from db.lock import only_one
from db.models import Split
from db.models.catalog import Lens
from db.models.ensemble import Ensemble, EnsembleMember
from db.models.imaging import Cutout
from db.models.training import Model, Score
from db.provenance import RecordedRun, canonical_config, recorded_run
from training.ensemble.combine import Combination, combination_of, fit_combination
from training.ensemble.members import SHARED, MemberScores, find_members, in_common, read_scores, refuse_half_scored
from training.errors import TrainingError
from training.labels import taught
from training.manifest import Manifest, read_manifest
from training.registry import named_model, recipe_of

_log = logging.getLogger(__name__)


class EnsembleConfig(StageConfig):
    """What an ensemble is made of, and how."""

    name: str = Field(pattern=NAME_PATTERN)
    members: tuple[str, ...] = Field(min_length=2)
    method: Literal["average", "stacking", "bayes"] = "average"

    @field_validator("members")
    @classmethod
    def _distinct(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(members)) < len(members):
            message = f"{list(members)} names a member twice"
            raise ValueError(message)
        return members


@dataclass(frozen=True)
class EnsembleResult:
    """What became of an ensemble; `coefficients` are in the order of `members`."""

    model_id: int
    name: str
    method: str
    members: tuple[str, ...]
    coefficients: tuple[float, ...]
    n_fitted_on: int
    n_scored: int
    was_there: bool


def make_ensemble(engine: Engine, config: EnsembleConfig) -> EnsembleResult:
    """Make an ensemble, with its scores, in one transaction.

    Whatever is fitted is fitted on the calibration part of val, on negatives and on positives found in ground-based
    imaging, as calibrations are. An ensemble that is there keeps what was fitted: only
    cutouts that all members have scored since get a score of it.

    Raises
    ------
    ModelNotFoundError
        When a member is not there.
    EnsembleError
        When members cannot be combined, or what is to be fitted lacks a class.
    TrainingError
        When the name is another model's.
    """
    members = find_members(engine, config.members)
    wanted = config.model_copy(update={"members": tuple(member.name for member in members)})
    with only_one(engine, f"model {config.name!r}"):
        there = named_model(engine, config.name)
        columns = [read_scores(engine, member) for member in members]
        scores = in_common(columns)
        if there is not None:
            return _extend(engine, there, wanted, scores)
        manifest = _manifest(engine, members[0])
        refuse_half_scored(members, columns, manifest)
        part = manifest.rows((manifest.split == Split.VAL) & manifest.is_calibration)
        part = part.rows((part.label == 0) | np.isin(part.cutout_id, _found_from_the_ground(engine, part)))
        combination = fit_combination(config.method, scores.of(part.cutout_id), part.label)
        with recorded_run(engine, command="ensemble make", config=wanted) as run, engine.begin() as connection:
            model_id = _insert_model(connection, run, wanted, members, _n_taught(engine, manifest, members))
            n_fitted_on = _insert_ensemble(connection, model_id, combination, members, part)
            _write(connection, model_id, run.run_id, scores.cutout_id, combination.apply(scores.scores))
    return EnsembleResult(
        model_id=model_id,
        name=config.name,
        method=config.method,
        members=wanted.members,
        coefficients=combination.coefficients,
        n_fitted_on=n_fitted_on,
        n_scored=len(scores.cutout_id),
        was_there=False,
    )


def _found_from_the_ground(engine: Engine, part: Manifest) -> npt.NDArray[np.int64]:
    """Cutouts of the part whose lens was discovered in ground-based imaging."""
    of_lens = select(Cutout.cutout_id).join(Lens, Lens.lens_id == Cutout.lens_id)
    positives = part.cutout_id[part.label == 1].tolist()
    wanted = of_lens.where(Cutout.cutout_id.in_(positives), Lens.discovery == "ground_imaging")
    with engine.connect() as connection:
        return np.array(connection.scalars(wanted).all(), dtype=np.int64)


def _manifest(engine: Engine, member: Model) -> Manifest:
    manifest = read_manifest(engine, member.draw_id, member.scheme_id, member.cutout_version)
    if manifest.digest() != member.manifest_sha256:
        _log.warning("the manifest of model %s has changed since it was trained", member.name)
    return manifest


def _n_taught(engine: Engine, manifest: Manifest, members: list[Model]) -> tuple[int, int]:
    """How many cutouts any member was trained on, and how many any chose its epoch by."""
    parts = [taught(manifest, recipe_of(engine, model)) for model in members]
    n_train, n_val = (
        len(np.unique(np.concatenate([part.manifest.cutout_id for part in of_members])))
        for of_members in zip(*parts, strict=True)
    )
    return n_train, n_val


def _insert_model(
    connection: Connection, run: RecordedRun, config: EnsembleConfig, members: list[Model], n_taught: tuple[int, int]
) -> int:
    accepted = dict.fromkeys(model.gate_accepted_reason for model in members if model.gate_accepted_reason)
    return connection.execute(
        insert(Model)
        .values(
            name=config.name,
            **{name: getattr(members[0], name) for name in SHARED},
            kind="ensemble",
            architecture=config.method,
            n_parameters=sum(model.n_parameters for model in members),
            config_sha256=run.config_sha256,
            n_train=n_taught[0],
            n_val=n_taught[1],
            gate_accepted_reason="; ".join(accepted) or None,
            status="succeeded",
            run_id=run.run_id,
        )
        .returning(Model.model_id)
    ).scalar_one()


def _insert_ensemble(
    connection: Connection, model_id: int, combination: Combination, members: list[Model], part: Manifest
) -> int:
    is_fitted = combination.method != "average"
    n_positives = int((part.label == 1).sum()) if is_fitted else 0
    n_negatives = len(part) - n_positives if is_fitted else 0
    connection.execute(
        insert(Ensemble).values(
            model_id=model_id,
            method=combination.method,
            body=combination.to_body(),
            n_positives=n_positives,
            n_negatives=n_negatives,
            fitted_sha256=part.digest() if is_fitted else None,
        )
    )
    connection.execute(
        insert(EnsembleMember),
        [
            {"model_id": model_id, "position": position, "member_model_id": model.model_id, "coefficient": coefficient}
            for position, (model, coefficient) in enumerate(
                zip(members, combination.coefficients, strict=True), start=1
            )
        ],
    )
    return n_positives + n_negatives


def _extend(engine: Engine, there: Model, config: EnsembleConfig, scores: MemberScores) -> EnsembleResult:
    """Score what all members have scored since, with what was fitted when the ensemble was made."""
    if there.config_sha256 != canonical_config(config)[0]:
        raise TrainingError(f"{config.name!r} is another model, or has other members or another method: choose a name")
    with engine.connect() as connection:
        row = connection.execute(select(Ensemble.__table__).where(Ensemble.model_id == there.model_id)).one()
        already = connection.scalars(select(Score.cutout_id).where(Score.model_id == there.model_id)).all()
    combination = combination_of(row.body)
    fresh = ~np.isin(scores.cutout_id, np.array(already, dtype=np.int64))
    if fresh.any():
        with recorded_run(engine, command="ensemble make", config=config) as run, engine.begin() as connection:
            made = combination.apply(scores.scores[fresh])
            _write(connection, there.model_id, run.run_id, scores.cutout_id[fresh], made)
    return EnsembleResult(
        model_id=there.model_id,
        name=there.name,
        method=row.method,
        members=config.members,
        coefficients=combination.coefficients,
        n_fitted_on=row.n_positives + row.n_negatives,
        n_scored=int(fresh.sum()),
        was_there=True,
    )


def _write(
    connection: Connection,
    model_id: int,
    run_id: int,
    cutout_id: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float64],
) -> None:
    rows = pa.table(
        {
            "model_id": pa.array(np.full(len(cutout_id), model_id), pa.int32()),
            "cutout_id": pa.array(cutout_id),
            "score": pa.array(scores),
            "run_id": pa.array(np.full(len(cutout_id), run_id), pa.int64()),
        }
    )
    copy_arrow(psycopg_connection(connection), "training.score", rows)
