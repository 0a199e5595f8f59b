"""The stage `stronglens discover`: the survey's top fraction by a model's scores, without the lenses that are known."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sqlalchemy import Connection, Engine, delete, insert, select

from analysis.calibration import probabilities
from analysis.discovery.objects import SurveyObjects, read_objects
from analysis.discovery.summary import DiscoverySummary
from analysis.discovery.survey_quantile import SurveyCut, SurveySample, survey_cut
from analysis.errors import AnalysisError, NoScoresError, ReasonMissingError
from analysis.evaluation.ledger import test_readings
from db.bulk import require_indexes
from db.config import StageConfig
from db.lock import only_one
from db.models import Split
from db.models.discovery import Discovery, DiscoveryCut
from db.models.evaluation import TestAccess
from db.models.provenance import Run
from db.models.sampling import Draw
from db.models.training import Model, Score
from db.provenance import canonical_config, recorded_run
from etl.draw.stage import refuse_stale_match
from etl.match import MatchConfig, count_stale_lenses, match_lenses
from training.manifest import read_manifest
from training.registry import find_model

Ends = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


class DiscoverConfig(StageConfig):
    """Which part of the survey to look at."""

    fraction: float = Field(default=1e-4, gt=0, le=0.1, allow_inf_nan=False)
    """Fraction of the survey's galaxies: 0.01 %."""
    prevalence: float = Field(default=1e-4, gt=0, lt=1, allow_inf_nan=False)
    """Lenses among the survey's galaxies, which probabilities are for."""
    n_bootstrap: int = Field(default=1000, ge=20, le=100_000)
    seed: int = Field(default=42, ge=0, lt=2**31)


def discover(engine: Engine, model: str, config: DiscoverConfig, *, test_reason: str | None = None) -> DiscoverySummary:
    """Find the candidates in the survey's top fraction by a model's scores, after matching every known lens anew.

    The threshold comes from objects that the model was not taught; candidates from all that it scored. Objects of
    the test split are neither, unless there is a reason to read them. A model's candidates replace those that it had;
    if nothing has changed, nothing is written.

    Parameters
    ----------
    test_reason
        Why the locked test split is read too, for the record; None leaves it alone.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    NoScoresError
        When cutouts of the splits that are read have no score.
    ReasonMissingError
        When the reason to read the test split is blank.
    AnalysisError
        When the model is a control, or its draw has no inclusion probabilities.
    BusyError
        When a match or another search is under way.
    """
    if test_reason is not None and not test_reason.strip():
        raise ReasonMissingError("the test split is read for a reason, and this one is blank: say why, in a few words")
    found = find_model(engine, model)
    if found.is_label_shuffled:
        raise AnalysisError(f"model {found.name} is a control, which was taught labels that say nothing: name another")
    read_test = test_reason is not None
    _refuse_incomplete(engine, found, read_test=read_test)
    survey = _match(engine, found)
    with only_one(engine, f"the discoveries of model {found.name}"), only_one(engine, "the match"):
        with engine.connect() as connection:
            refuse_stale_match(connection, *survey)
            search = _search(connection, found, config, read_test=read_test)
            is_new = not _is_current(connection, found.model_id, canonical_config(search.told)[0])
        if is_new:
            with recorded_run(engine, command="discover", config=search.told) as run, engine.begin() as connection:
                if read_test:
                    access = {"model_id": found.model_id, "run_id": run.run_id, "purpose": test_reason}
                    connection.execute(insert(TestAccess).values(access))
                _replace(connection, found.model_id, run.run_id, config, search)
    with engine.connect() as connection:
        n_test_accesses = test_readings(connection, found).n
    return DiscoverySummary(
        model_id=found.model_id,
        model_name=found.name,
        is_new=is_new,
        cut=search.cut,
        fraction=config.fraction,
        prevalence=config.prevalence,
        n_known=search.n_known,
        n_candidates=len(search.candidates),
        is_test_read=read_test,
        n_test_accesses=n_test_accesses,
    )


@dataclass(frozen=True)
class _Search:
    """What was found; `told` is all that it follows from."""

    sample: SurveySample
    cut: SurveyCut
    candidates: SurveyObjects
    n_known: int
    probability: Ends | None
    told: dict[str, Any]


def _match(engine: Engine, model: Model) -> tuple[str, int]:
    """Match the known lenses anew where that is due; return the model's survey and data release."""
    with engine.connect() as connection:
        require_indexes(connection)
        survey, data_release = connection.execute(
            select(Draw.survey, Draw.data_release).where(Draw.draw_id == model.draw_id)
        ).one()
        is_stale = count_stale_lenses(connection, survey, data_release) > 0
    if is_stale:
        match_lenses(engine, MatchConfig())  # holds the match's lock itself
    return survey, data_release


def _search(connection: Connection, model: Model, config: DiscoverConfig, *, read_test: bool) -> _Search:
    objects = read_objects(connection, model, read_test=read_test)
    sample = objects.sample()
    cut = survey_cut(sample, config.fraction, n_bootstrap=config.n_bootstrap, seed=config.seed)
    candidates, n_known = _candidates(objects, cut.threshold)
    p = probabilities(connection, model.model_id, candidates.score, config.prevalence)
    told = {
        **config.model_dump(mode="json"),
        "model": model.name,
        "objects_sha256": objects.digest(),
        "probabilities": None if p is None else [float(np.sum(end)) for end in p],
        "is_test_read": read_test,
    }
    return _Search(sample, cut, candidates, n_known, p, told)


def _refuse_incomplete(engine: Engine, model: Model, *, read_test: bool) -> None:
    """A half-scored split would stand for a survey of whichever cutouts came first."""
    manifest = read_manifest(engine, model.draw_id, model.scheme_id, model.cutout_version)
    with engine.connect() as connection:
        scored = np.array(
            connection.scalars(select(Score.cutout_id).where(Score.model_id == model.model_id)).all(), dtype=np.int64
        )
    for split in (Split.VAL, Split.TEST) if read_test else (Split.VAL,):
        wanted = manifest.part(split)
        n_missing = int((~np.isin(wanted.cutout_id, scored)).sum())
        if n_missing:
            raise NoScoresError(
                f"model {model.name}: {n_missing:,} of {len(wanted):,} cutouts of the {split} split have no score: "
                f"run `stronglens score {model.name}` first"
            )


def _candidates(objects: SurveyObjects, threshold: float) -> tuple[SurveyObjects, int]:
    """Return galaxies at or above a threshold that are no lenses and near none, best first; and count the others."""
    above = objects.where(objects.score >= threshold)
    is_known = above.is_lens | above.is_near_lens
    new = above.where(~is_known)
    order = np.lexsort((new.cutout_id, -new.score))
    return new.where(order), int(is_known.sum())


def _is_current(connection: Connection, model_id: int, config_sha256: str) -> bool:
    made = select(Run.config_sha256).join(DiscoveryCut, DiscoveryCut.run_id == Run.run_id)
    return connection.scalar(made.where(DiscoveryCut.model_id == model_id)) == config_sha256


def _replace(connection: Connection, model_id: int, run_id: int, config: DiscoverConfig, search: _Search) -> None:
    """Write what was found over what is there: the candidates of a cut go with it."""
    connection.execute(delete(DiscoveryCut).where(DiscoveryCut.model_id == model_id))
    connection.execute(
        insert(DiscoveryCut).values(
            **asdict(search.cut),
            model_id=model_id,
            fraction=config.fraction,
            prevalence=config.prevalence,
            n_bootstrap=config.n_bootstrap,
            n_known=search.n_known,
            n_candidates=len(search.candidates),
            is_test_read=search.told["is_test_read"],
            run_id=run_id,
        )
    )
    rows = [{"model_id": model_id, "run_id": run_id, **row} for row in _rows(search)]
    if rows:
        connection.execute(insert(Discovery), rows)


def _rows(search: _Search) -> list[dict[str, object]]:
    found = search.candidates
    p = [[None] * len(found)] * 3 if search.probability is None else [end.tolist() for end in search.probability]
    columns = {
        "cutout_id": found.cutout_id.tolist(),
        "rank": list(range(1, len(found) + 1)),
        "score": found.score.tolist(),
        "survey_quantile": search.sample.fraction_at_or_above(found.score).tolist(),
        **dict(zip(("probability", "probability_lo", "probability_hi"), p, strict=True)),
        "is_trained_on": found.is_trained_on.tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
