"""Ensembles in a database: who may be a member, what is written, and that a repetition writes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit
from sqlalchemy import Engine, delete, select, text
from sqlalchemy.exc import IntegrityError

from db.config import load_config
from db.errors import BusyError, ConfigError
from db.lock import only_one
from db.models.ensemble import Ensemble, EnsembleMember
from db.models.provenance import Run
from db.models.training import Model, Score
from tests.training.scored_models import calibrate_on_half_of_val, count, insert_scored, world_manifest
from training.config import TrainConfig
from training.ensemble.combine import fit_combination
from training.ensemble.make import EnsembleConfig, make_ensemble
from training.errors import EnsembleError, ModelNotFoundError, TrainingError
from training.registry import find_model

Recipe = Callable[..., TrainConfig]
WRITTEN = (Model, Ensemble, EnsembleMember, Score, Run)


@pytest.fixture
def scores(world: Any) -> npt.NDArray[np.float64]:
    """Scores of two members, shape (210, 2): each sees something of the label, with its own errors."""
    rng = np.random.default_rng(2)
    return expit(3 * world.labels[:, np.newaxis] - 2 + rng.normal(size=(len(world.labels), 2)))


@pytest.fixture
def members(engine: Engine, scores: npt.NDArray[np.float64], recipe: Recipe) -> None:
    """Two scored members, `one` and `two`, in a world with a calibration part."""
    calibrate_on_half_of_val(engine)
    for k, name in enumerate(("one", "two")):
        insert_scored(engine, recipe(name=name, seed=k), scores[:, k])


def scores_of(engine: Engine, model_id: int) -> npt.NDArray[np.float64]:
    with engine.connect() as connection:
        statement = select(Score.score).where(Score.model_id == model_id).order_by(Score.cutout_id)
        return np.array(connection.scalars(statement).all())


def config(name: str = "both", method: str = "average", members: tuple[str, ...] = ("one", "two")) -> EnsembleConfig:
    return load_config(EnsembleConfig, None, name=name, members=members, method=method)


@pytest.mark.parametrize("method", ["average", "stacking", "bayes"])
def test_an_ensemble_is_a_model_whose_scores_follow_from_the_calibration_part_alone(
    engine: Engine, scores: npt.NDArray[np.float64], members: None, method: str
) -> None:
    done = make_ensemble(engine, config(method=method))
    manifest = world_manifest(engine)
    part = (manifest.split == "val") & manifest.is_calibration
    assert 10 < part.sum() < 40
    by_hand = fit_combination(method, scores[part], manifest.label[part])
    np.testing.assert_allclose(scores_of(engine, done.model_id), by_hand.apply(scores), rtol=1e-12)
    model = find_model(engine, "both")
    assert (model.kind, model.architecture, model.preprocessing, model.n_parameters) == ("ensemble", method, None, 20)
    assert (model.status, model.manifest_sha256, model.checkpoint_uri) == ("succeeded", manifest.digest(), None)
    n_choice = int(((manifest.split == "val") & ~manifest.is_calibration).sum())
    assert (model.n_train, model.n_val) == (120, n_choice)
    with engine.connect() as connection:
        row = connection.execute(select(Ensemble.__table__)).one()
        listed = connection.execute(
            select(EnsembleMember.position, Model.name, EnsembleMember.coefficient)
            .join(Model, Model.model_id == EnsembleMember.member_model_id)
            .order_by(EnsembleMember.position)
        ).all()
    n_positives = 0 if method == "average" else int(manifest.label[part].sum())
    n_negatives = 0 if method == "average" else int(part.sum()) - n_positives
    assert (row.method, row.n_positives, row.n_negatives) == (method, n_positives, n_negatives)
    assert row.fitted_sha256 == (None if method == "average" else manifest.rows(part).digest())
    assert [tuple(line) for line in listed] == [
        (1, "one", pytest.approx(by_hand.coefficients[0])),
        (2, "two", pytest.approx(by_hand.coefficients[1])),
    ]


def test_a_repetition_writes_nothing_in_whatever_order_members_are_named(engine: Engine, members: None) -> None:
    make_ensemble(engine, config(method="bayes"))
    before = count(engine, *WRITTEN)
    for named in (("one", "two"), ("two", "one"), ("2", "1")):
        again = make_ensemble(engine, config(method="bayes", members=named))
        assert (again.was_there, again.n_scored, again.members) == (True, 0, ("one", "two"))
    assert count(engine, *WRITTEN) == before


def test_what_members_score_later_is_scored_with_what_was_fitted_before(
    engine: Engine, scores: npt.NDArray[np.float64], recipe: Recipe
) -> None:
    calibrate_on_half_of_val(engine)
    late = scores[:, 1].copy()
    late[:100] = np.nan
    ids = [
        insert_scored(engine, recipe(name="one"), scores[:, 0]),
        insert_scored(engine, recipe(name="two"), late),
    ]
    first = make_ensemble(engine, config(method="stacking"))
    assert first.n_scored == 110
    with engine.begin() as connection:
        run_id = connection.scalar(select(Run.run_id).limit(1))
        rows = [
            {"m": ids[1], "c": key, "s": score, "r": run_id}
            for key, score in zip(
                world_manifest(engine).cutout_id.tolist()[:100], scores[:100, 1].tolist(), strict=True
            )
        ]
        connection.execute(text("INSERT INTO training.score VALUES (:m, :c, :s, :r)"), rows)
    again = make_ensemble(engine, config(method="stacking"))
    assert (again.was_there, again.n_scored, again.coefficients) == (True, 100, first.coefficients)
    manifest = world_manifest(engine)
    part = (manifest.split == "val") & manifest.is_calibration
    by_hand = fit_combination("stacking", scores[part], manifest.label[part])
    np.testing.assert_allclose(scores_of(engine, first.model_id), by_hand.apply(scores), rtol=1e-12)


def test_domains_taught_to_the_members_are_counted_once_each(
    engine: Engine, scores: npt.NDArray[np.float64], recipe: Recipe
) -> None:
    calibrate_on_half_of_val(engine)
    with engine.begin() as connection:  # half of the positives and negatives under each condition
        blocks = "SET conditions_source = 'coadd', nexp_z = 2 + 4 * (ra::int / 6 % 2)"
        connection.execute(text(f"UPDATE imaging.cutout {blocks}"))
        connection.execute(text("UPDATE catalog.galaxy SET nobs_z = 2 + 4 * (ra::int / 6 % 2)"))
    for name, half in (("one", "low"), ("two", "high")):
        domain = {"column": "nobs_z", "half": half}
        insert_scored(engine, recipe(name=name, domain=domain), scores[:, 0], n_train=60)
    made = make_ensemble(engine, config())
    assert find_model(engine, str(made.model_id)).n_train == 120


def test_models_that_cannot_be_combined_are_refused(
    engine: Engine, scores: npt.NDArray[np.float64], recipe: Recipe
) -> None:
    insert_scored(engine, recipe(name="one"), scores[:, 0])
    unfit: dict[str, tuple[dict[str, Any], str]] = {
        "control": ({"is_label_shuffled": True}, "'control' is a control, trained on labels that say nothing"),
        "moved": ({"manifest_sha256": "f" * 64}, "'moved' and 'one' differ in manifest_sha256"),
        "other": ({"cutout_version": "v2"}, "'other' and 'one' differ in cutout_version"),
    }
    for name, (columns, _) in unfit.items():
        insert_scored(engine, recipe(name=name), scores[:, 1], **columns)
    before = count(engine, *WRITTEN)
    for name, (_, words) in unfit.items():
        with pytest.raises(EnsembleError, match=words):
            make_ensemble(engine, config(members=("one", name)))
    assert count(engine, *WRITTEN) == before


def test_members_without_scores_are_refused_with_the_command_to_run(
    engine: Engine, scores: npt.NDArray[np.float64], recipe: Recipe
) -> None:
    insert_scored(engine, recipe(name="one"), scores[:, 0])
    insert_scored(engine, recipe(name="two"), None)
    words = "'two' has no score of 90 of the 90 cutouts of val and test: run `stronglens score two` first"
    with pytest.raises(EnsembleError, match=words):
        make_ensemble(engine, config())
    with pytest.raises(ModelNotFoundError, match="'three' is not there"):
        make_ensemble(engine, config(members=("one", "three")))


def test_an_ensemble_of_ensembles_and_a_taken_name_are_refused(engine: Engine, members: None) -> None:
    make_ensemble(engine, config())
    with pytest.raises(EnsembleError, match="'both' is an ensemble itself"):
        make_ensemble(engine, config(name="more", members=("both", "one")))
    for other in (config(method="bayes"), config(name="one", members=("one", "two"))):
        with pytest.raises(TrainingError, match="is another model, or has other members or another method"):
            make_ensemble(engine, other)
    with pytest.raises(EnsembleError, match="name a model twice"):
        make_ensemble(engine, config(name="more", members=("one", "1")))
    with pytest.raises(ConfigError, match="names a member twice"):
        config(members=("one", "one"))
    with pytest.raises(ConfigError, match="members"):
        config(members=("one",))


def test_a_calibration_part_without_a_class_is_refused_where_something_is_fitted(
    engine: Engine, scores: npt.NDArray[np.float64], recipe: Recipe
) -> None:
    for k, name in enumerate(("one", "two")):
        insert_scored(engine, recipe(name=name), scores[:, k])
    before = count(engine, *WRITTEN)
    for method in ("stacking", "bayes"):
        with pytest.raises(EnsembleError, match="0 positives and 0 negatives to fit a combination to"):
            make_ensemble(engine, config(method=method))
    assert count(engine, *WRITTEN) == before
    assert make_ensemble(engine, config()).n_scored == 210  # an average fits nothing


def test_an_ensemble_that_cannot_be_written_whole_is_not_written(
    engine: Engine, members: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = count(engine, Model, Ensemble, EnsembleMember, Score)

    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.ensemble.make.copy_arrow", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_ensemble(engine, config())
    assert count(engine, Model, Ensemble, EnsembleMember, Score) == before


def test_a_member_cannot_go_while_an_ensemble_is_made_of_it(engine: Engine, members: None) -> None:
    with only_one(engine, "model 'both'"), pytest.raises(BusyError):
        make_ensemble(engine, config())
    made = make_ensemble(engine, config())
    with pytest.raises(IntegrityError, match="fk_ensemble_member_member_model_id_model"), engine.begin() as connection:
        connection.execute(delete(Model).where(Model.name == "one"))
    with engine.begin() as connection:
        connection.execute(delete(Model).where(Model.model_id == made.model_id))
    assert count(engine, Ensemble, EnsembleMember) == [0, 0]


def test_the_command_line_makes_an_ensemble(
    engine: Engine, members: None, run_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_cli("ensemble", "make", "both", "--members", "one,two", "--method", "stacking")
    assert done.returncode == 0, done.stderr
    assert "ensemble both (number 3), stacking of one " in done.stdout
    assert "210 scored" in done.stdout
    assert "0 scored, the rest had scores" in run_cli(
        "ensemble", "make", "both", "--members", "two, one", "--method", "stacking"
    ).stdout  # fmt: skip
    done = run_cli("ensemble", "make", "more", "--members", "one,both")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: 'both' is an ensemble itself")
