"""The two stages against a real database and a real store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, func, insert, select, text, update

from db.errors import BusyError, MissingInputError
from db.lock import only_one
from db.models import Split
from db.models.imaging import Cutout
from db.models.provenance import Artifact, Config, Run
from db.models.training import Epoch, Model, Score
from db.provenance import canonical_config
from db.settings import settings
from etl.storage import open_store
from training import registry, score
from training.config import TrainConfig
from training.control import control_manifest
from training.errors import (
    CheckpointError,
    ManifestError,
    ModelNotFoundError,
    PreprocessingError,
    TrainingError,
)
from training.manifest import named_manifest
from training.preprocess import Preprocessing, preprocess
from training.score import open_scorer, score_model
from training.scoring.scorer import scorer_of
from training.train import train_model

Recipe = Callable[..., TrainConfig]
COUNTED = (Run, Artifact, Model, Epoch, Score)


def rows(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in COUNTED]


def stored(uri: str) -> Path:
    return Path(settings().store) / uri.removeprefix("store:")


def only_model(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(select(Model.__table__)).one()


def test_a_model_is_trained_recorded_scored_and_then_left_alone(engine: Engine, world: Any, recipe: Recipe) -> None:
    told: list[str] = []
    result = train_model(engine, recipe(), lambda task, done, total: told.append(f"{task} {done}/{total}"))
    assert {"reading cutouts 120/120", "reading cutouts 45/45", "epoch 4 of 4 120/120"} <= set(told)
    row = only_model(engine)
    assert (row.status, row.error, row.n_train, row.n_val) == ("succeeded", None, 120, 45)
    assert (row.name, row.survey, row.is_label_shuffled) == ("tiny", "mock", False)
    data = stored(row.checkpoint_uri).read_bytes()
    assert row.checkpoint_sha256 == hashlib.sha256(data).hexdigest()
    body = torch.load(stored(row.checkpoint_uri), weights_only=True)
    assert body["preprocessing"] == row.preprocessing == recipe().preprocessing.model_dump(mode="json")
    assert body["config"] == recipe().model_dump(mode="json")
    lines = []
    with engine.connect() as connection:
        for i, (cutout_id, sha256) in enumerate(
            connection.execute(select(Cutout.cutout_id, Cutout.sha256).order_by(Cutout.cutout_id))
        ):
            lines.append(f"{cutout_id} {'train' if i < 120 else 'val' if i < 165 else 'test'} {sha256}\n")
        epochs = connection.execute(select(Epoch.__table__).order_by(Epoch.epoch)).all()
    assert row.manifest_sha256 == body["manifest_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert row.best_epoch == result.best_epoch == max(epochs, key=lambda epoch: epoch.val_auc).epoch

    assert score_model(engine, "tiny", split=Split.TEST).n_scored == 45
    rest = score_model(engine, row.model_id)
    assert (rest.n_scored, rest.n_already) == (165, 45)
    with engine.connect() as connection:
        scores = np.array(connection.scalars(select(Score.score).order_by(Score.cutout_id)).all())
    network = scorer_of(
        registry.load_checkpoint(registry.find_model(engine, "tiny"), open_store(settings().store)), "cpu"
    )
    with torch.inference_mode():
        direct = network.network(torch.from_numpy(preprocess(world.pixels, recipe().preprocessing)))[:, 0].sigmoid()
    np.testing.assert_allclose(scores, direct.numpy(), atol=1e-5)
    np.testing.assert_allclose(open_scorer(engine, "tiny").score_pixels(world.pixels), scores, atol=1e-5)
    assert roc_auc_score(world.labels[165:], scores[165:]) > 0.9

    before = rows(engine)
    assert train_model(engine, recipe()).was_there
    assert score_model(engine, "tiny").n_scored == 0
    assert rows(engine) == before
    with pytest.raises(PreprocessingError, match="crop_px 64 instead of 32"):
        score_model(engine, "tiny", preprocessing=Preprocessing())
    with pytest.raises(TrainingError, match="another recipe: choose another `name`"):
        train_model(engine, recipe(epochs=2))

    # Damaged afterwards, the model can be neither scored with nor, as it has scores, replaced.
    stored(row.checkpoint_uri).write_bytes(data[:-7])
    with pytest.raises(CheckpointError, match="altered"):
        open_scorer(engine, "tiny")
    with pytest.raises(TrainingError, match="has scores"):
        train_model(engine, recipe())
    stored(row.checkpoint_uri).unlink()
    with pytest.raises(CheckpointError, match="not in the store"):
        open_scorer(engine, "tiny")


SMALL_FLOAT16 = Preprocessing(crop_px=32, annulus_inner_px=12, annulus_outer_px=16, pixel_dtype="float16")
QUICK = {"epochs": 1, "epoch_images": 32}


def test_scoring_goes_on_where_it_was_interrupted(
    engine: Engine, world: Any, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_model(engine, recipe(**QUICK))
    monkeypatch.setattr(score, "CHUNK", 50)

    def interrupt(_task: str, done: int, _total: int) -> None:
        if done == 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_model(engine, "tiny", progress=interrupt)
    done = score_model(engine, "tiny")
    assert (done.n_already, done.n_scored) == (100, 110)


def test_a_model_scores_the_cutouts_of_another_draw(engine: Engine, world: Any, recipe: Recipe) -> None:
    columns = "survey, data_release, seed, config_sha256, run_id, n_lenses_known, n_galaxies, key_rule"
    with engine.begin() as connection:
        for statement in (
            f"INSERT INTO sampling.draw (name, {columns}) SELECT 'other', {columns} FROM sampling.draw",
            (
                "INSERT INTO sampling.split_assignment (scheme_id, draw_id, n_close_pairs, n_guard_drops, run_id) "
                "SELECT scheme_id, (SELECT draw_id FROM sampling.draw WHERE name = 'other'), 0, 0, run_id "
                "FROM sampling.split_assignment"
            ),
            (
                "INSERT INTO sampling.stratum (draw_id, nobs_z_bin, type, n_positives, n_drawn_n1, n_drawn_n2) "
                "SELECT draw_id, '3-5', 'SER', 0, 0, 0 FROM sampling.draw WHERE name = 'other'"
            ),
            (
                "UPDATE sampling.draw_member SET (draw_id, stratum_id) = (SELECT draw_id, stratum_id "
                "FROM sampling.stratum JOIN sampling.draw USING (draw_id) WHERE name = 'other') "
                "WHERE member_id IN (SELECT member_id FROM sampling.draw_member WHERE label = 0 ORDER BY ls_id LIMIT 7)"
            ),
        ):
            connection.execute(text(statement))
    train_model(engine, recipe(**QUICK, accept_gate="seven of its negatives went to another draw"))
    n_all = len(world.labels)
    assert score_model(engine, "tiny").n_scored == n_all - 7
    assert score_model(engine, "tiny", draw="other").n_scored == 7
    again = score_model(engine, "tiny", draw="other")
    assert (again.n_scored, again.n_already) == (0, 7)
    with engine.connect() as connection:
        published = connection.scalar(text("SELECT count(*) FROM results.scores WHERE model_name = 'tiny'"))
    assert published == n_all - 7  # what is published of a model is about its own draw
    with pytest.raises(MissingInputError, match="draw 'elsewhere' is not there"):
        score_model(engine, "tiny", draw="elsewhere")


def test_a_checkpoint_that_was_lost_is_made_again_while_there_are_no_scores(
    engine: Engine, world: Any, recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    first = only_model(engine)
    stored(first.checkpoint_uri).unlink()
    assert not train_model(engine, recipe(**QUICK)).was_there
    again = only_model(engine)
    assert again.model_id != first.model_id
    assert again.checkpoint_sha256 == first.checkpoint_sha256


def test_the_control_knows_its_labels_and_scores_the_held_out_ones_by_chance(
    engine: Engine, world: Any, recipe: Recipe
) -> None:
    train_model(engine, recipe(shuffle_labels=True, epochs=2))
    model = registry.find_model(engine, "tiny")
    assert model.is_label_shuffled
    score_model(engine, "tiny", split=Split.TEST)
    with engine.connect() as connection:
        scores = connection.scalars(select(Score.score).order_by(Score.cutout_id)).all()
    dealt = control_manifest(engine, model).part(Split.TEST)
    # 15 against 30: the standard deviation of an AUC without skill is 0.09, and 0.25 is 2.7 of them. A bound as wide
    # tells a control that reads its labels from the files (0.9 and above, as the model has) and nothing finer.
    assert abs(roc_auc_score(dealt.label, scores) - 0.5) < 0.25


def test_a_collapse_marks_the_model_and_the_run_as_failed_and_can_be_repeated(
    engine: Engine, world: Any, recipe: Recipe, run_cli: Any, tmp_path: Path
) -> None:
    blank_recipe = recipe(**QUICK, accept_gate="blank on purpose").model_dump(mode="json")
    with engine.begin() as connection:  # nothing to see in any cutout: the scores are all the same
        blank = open_store(settings().store).get_bytes(world.uris[0])
        for uri in world.uris:
            stored(uri).write_bytes(blank)
        connection.execute(update(Cutout).values(sha256=hashlib.sha256(blank).hexdigest()))
    file = tmp_path / "blank_recipe.yaml"
    file.write_text(yaml.safe_dump(blank_recipe))
    for _ in range(2):
        done = run_cli("train", str(file))
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].startswith("error: the validation scores of epoch 1 are constant")
        assert "Traceback" not in done.stderr
    row = only_model(engine)
    assert (row.status, row.checkpoint_uri) == ("failed", None)
    assert "constant" in row.error
    with engine.connect() as connection:
        runs = connection.execute(select(Run.status, Run.error).where(Run.command == "train")).all()
    assert [run.status for run in runs] == ["failed", "failed"]
    with pytest.raises(ModelNotFoundError, match="status is failed: the validation scores"):
        score_model(engine, "tiny")


def test_a_missing_or_altered_cutout_is_named(engine: Engine, world: Any, recipe: Recipe) -> None:
    file = stored(world.uris[3])
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"x")
    with pytest.raises(ManifestError, match=r"test/3\.npz: altered since it was made"):
        train_model(engine, recipe(**QUICK))
    file.unlink()
    with pytest.raises(ManifestError, match=r"test/3\.npz"):
        train_model(engine, recipe(**QUICK))
    assert only_model(engine).status == "failed"
    file.write_bytes(data)
    assert not train_model(engine, recipe(**QUICK)).was_there


def test_cutouts_in_another_band_order_are_refused(engine: Engine, world: Any, recipe: Recipe) -> None:
    with engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.cutout_id == world.cutout_ids[0]).values(bands="zrg"))
    with pytest.raises(PreprocessingError, match="'zrg'"):
        train_model(engine, recipe())


def test_a_stage_before_its_inputs_names_the_command_to_run(engine: Engine, world: Any, recipe: Recipe) -> None:
    for keys, words in (
        ({"draw": "nowhere"}, "draw 'nowhere' is not there (rings): run `stronglens draw` first"),
        ({"scheme": "none"}, "split scheme 'none' is not there (cells): run `stronglens splits assign` first"),
        ({"cutout_version": "v9"}, "versions there: v1"),
    ):
        with pytest.raises(MissingInputError) as caught:
            train_model(engine, recipe(**keys))
        assert words in str(caught.value)
    with pytest.raises(ModelNotFoundError, match=r"'ghost' is not there \(models: none\): run `stronglens train"):
        score_model(engine, "ghost")


def test_a_split_without_positives_is_refused(engine: Engine, world: Any, recipe: Recipe) -> None:
    ids = [world.cutout_ids[i] for i in range(120, 165) if world.labels[i]]
    with engine.begin() as connection:
        connection.execute(
            update(Cutout)
            .where(Cutout.cutout_id.in_(ids))
            .values(status="rejected", reject_reason="test", uri=None, sha256=None, n_bytes=None)
        )
    with pytest.raises(ManifestError, match="val split holds 0 positives and 30 negatives"):
        train_model(engine, recipe())


def test_the_manifest_comes_in_order_with_weights_by_tier(engine: Engine, world: Any) -> None:
    manifest = named_manifest(engine, "rings", "cells", "v1")
    assert manifest.cutout_id.tolist() == world.cutout_ids
    np.testing.assert_array_equal(manifest.label, world.labels)
    expected = np.where((world.labels == 1) & (np.arange(210) % 2 == 1), 0.5, 1.0)
    np.testing.assert_array_equal(manifest.weight, expected)
    assert len(manifest.part(Split.VAL)) == 45


def test_two_processes_do_not_train_one_model(engine: Engine, world: Any, recipe: Recipe) -> None:
    with only_one(engine, "model 'tiny'"), pytest.raises(BusyError, match="another process"):
        train_model(engine, recipe())
    with only_one(engine, "model 'tiny'"):
        pass  # and the lock is given back


def test_the_command_line_trains_and_scores(
    engine: Engine, world: Any, recipe: Recipe, run_cli: Any, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe(**QUICK).model_dump(mode="json")))
    done = run_cli("train", str(file), "--name", "other", "--shuffle-labels")
    assert done.returncode == 0, done.stderr
    assert "model other (number 1): 120 cutouts, validated on 45" in done.stdout
    assert "already trained" in run_cli("train", str(file), "--name", "other", "--shuffle-labels").stdout
    assert "45 scored, 0 had scores" in run_cli("score", "other", "--split", "test").stdout
    done = run_cli("score", "ghost")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: model 'ghost' is not there (models: other)")


def test_a_model_trained_before_recipes_got_their_newest_keys_is_still_known_and_used(
    engine: Engine, world: Any, recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    body = recipe(**QUICK).model_dump(mode="json")
    del body["preprocessing"]["pixel_dtype"], body["accept_gate"]
    digest, body = canonical_config(body)
    with engine.begin() as connection:
        connection.execute(insert(Config).values(config_sha256=digest, body=body))
        connection.execute(update(Model).values(config_sha256=digest, preprocessing=body["preprocessing"]))
    assert train_model(engine, recipe(**QUICK)).was_there
    assert score_model(engine, "tiny", split=Split.VAL).n_scored == 45
    with pytest.raises(TrainingError, match="another recipe"):
        train_model(engine, recipe(**QUICK, preprocessing=SMALL_FLOAT16))


@pytest.mark.parametrize(
    ("name", "preprocessing"), [("demo", Preprocessing()), ("resnet18", Preprocessing(pixel_dtype="float16"))]
)
def test_the_recipes_that_come_along_are_valid(name: str, preprocessing: Preprocessing) -> None:
    from db.config import load_config
    from db.settings import CHECKOUT

    recipe = load_config(TrainConfig, CHECKOUT / "training" / "configs" / f"{name}.yaml")
    assert recipe.preprocessing == preprocessing


def test_the_demo_stays_within_its_image_steps() -> None:
    from db.config import load_config
    from db.settings import CHECKOUT

    recipe = load_config(TrainConfig, CHECKOUT / "training" / "configs" / "demo.yaml")
    assert 20_000 <= recipe.epochs * (recipe.epoch_images or 0) <= 25_000
