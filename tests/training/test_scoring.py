"""Scores beside the model's draw, held-out lenses, embeddings: against the network itself, run by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import Engine, func, insert, null, select, text, update

from db.errors import MissingInputError
from db.models import Split
from db.models.catalog import Galaxy, Lens, LensGrade, LensSource
from db.models.discovery import HeldOut
from db.models.imaging import Cutout, Quarantine
from db.models.provenance import Run
from db.models.sampling import SplitCell
from db.models.training import Embedding, Model, Score
from db.settings import settings
from etl.cutouts.files import REQUIRED_META, write_cutout
from etl.cutouts.files import Cutout as CutoutFile
from etl.storage import open_store
from tests.conftest import RunCli
from training import score
from training.config import TrainConfig
from training.errors import PackError, PreprocessingError, TrainingError
from training.preprocess import preprocess
from training.registry import find_model, load_checkpoint
from training.score import open_scorer, score_model
from training.train import train_model

Recipe = Callable[..., TrainConfig]
QUICK = {"epochs": 1, "epoch_images": 32}
N_POOL = 30
KINDS = {
    "held out": {},
    "held out too": {},
    "spectroscopic": {"discovery": "spectroscopic"},
    "cluster": {"is_lens_claim": False},
}


@pytest.fixture
def beside(engine: Engine, world: Any, ring_cutouts: Any) -> dict[str, Any]:
    """Beside the world's draw: 30 galaxies and four known lenses with cutouts; returns ids and pixels in that order."""
    pixels, _ = ring_cutouts(N_POOL + len(KINDS), 77)
    store = open_store(settings().store)
    with engine.begin() as connection:
        run = connection.scalar(select(func.min(Run.run_id)))
        plain = connection.execute(select(Galaxy.__table__).limit(1)).mappings().one()
        cells = [i % 210 for i in range(0, 7 * N_POOL, 7)]
        connection.execute(
            insert(Galaxy),
            [
                {**plain, "ls_id": (9990 << 40) + 5000 + i, "ra": 300.0, "dec": float(i), "healpix_128": cells[i]}
                for i in range(N_POOL)
            ],
        )
        lenses = connection.scalars(
            insert(Lens).returning(Lens.lens_id, sort_by_parameter_order=True),
            [
                {"name": name, "tier": None, "is_lens_claim": True, "lens_type": "galaxy",
                 "discovery": "ground_imaging", "ra": 320.0, "dec": float(i), "healpix_128": 130 + i} | words
                for i, (name, words) in enumerate(KINDS.items())
            ],
        ).all()  # fmt: skip
        who = [{"ls_id": (9990 << 40) + 5000 + i, "lens_id": None} for i in range(N_POOL)]
        who += [{"ls_id": None, "lens_id": lens} for lens in lenses]
        ids = add_cutouts(connection, store, run, who, pixels)
    return {"ids": ids, "pixels": pixels, "cells": cells, "lenses": dict(zip(KINDS, lenses, strict=True))}


def add_cutouts(
    connection: Any, store: Any, run: int, who: list[dict[str, Any]], pixels: Any, version: str = "v1"
) -> Any:
    rows = []
    for i, (key, image) in enumerate(zip(who, pixels, strict=True)):
        meta = dict(zip(REQUIRED_META, ("x", 1.0, 0.0, 101, 0.262, "mock"), strict=True))
        data = write_cutout(CutoutFile(image, meta))
        uri = store.put_bytes(f"cutouts/beside/{version}/{key['lens_id']}_{key['ls_id']}.npz", data)
        rows.append(
            {"survey": "mock", "data_release": 10, "ra": 300.0, "dec": float(i), "version": version, "layer": "mock",
             "source": "coadd", "brickname": "0001p000", "uri": uri, "sha256": hashlib.sha256(data).hexdigest(),
             "n_bytes": len(data), "bands": "grz", "n_pixels": 101, "pixel_scale_arcsec": 0.262, "nan_fraction": 0.0,
             "status": "ok", "run_id": run, **key}
        )  # fmt: skip
    returning = insert(Cutout).returning(Cutout.cutout_id, sort_by_parameter_order=True)
    return connection.scalars(returning, rows).all()


def scores(engine: Engine) -> dict[int, float]:
    with engine.connect() as connection:
        return dict(connection.execute(select(Score.cutout_id, Score.score)).all())


def n_rows(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        tables = (Run, Score, Embedding, HeldOut)
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def by_hand(engine: Engine, pixels: Any) -> tuple[Any, Any]:
    """Scores and penultimate features, by taking the network apart."""
    network = open_scorer(engine, "tiny", device="cpu").network
    rules = load_checkpoint(find_model(engine, "tiny"), open_store(settings().store)).preprocessing
    body = torch.nn.Sequential(*list(network.children())[:-1])
    with torch.inference_mode():
        images = torch.from_numpy(preprocess(pixels, rules))
        return network(images)[:, 0].double().sigmoid().numpy(), body(images).flatten(1).numpy()


def test_the_pool_is_scored_without_the_draw_and_what_is_unfit(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    with engine.begin() as connection:
        run = connection.scalar(select(func.max(Run.run_id)))
        unfit = {"status": "rejected", "reject_reason": "no data", "uri": None, "sha256": None, "n_bytes": None}
        connection.execute(update(Cutout).where(Cutout.cutout_id == beside["ids"][0]).values(unfit))
        connection.execute(
            insert(Quarantine).values(cutout_id=beside["ids"][1], reason="saturated", detail="x", run_id=run)
        )
        other = {"ls_id": (9990 << 40) + 5000 + 2, "lens_id": None}
        add_cutouts(connection, open_store(settings().store), run, [other], beside["pixels"][:1], "v2")
    told: list[str] = []
    result = score_model(
        engine, "tiny", cutouts="pool", progress=lambda task, done, total: told.append(f"{task} {done}/{total}")
    )
    assert (result.n_scored, result.n_already) == (32, 0)
    assert told[-1] == "scoring with tiny 32/32"
    found = scores(engine)
    assert sorted(found) == sorted(beside["ids"][2:])
    expected, _ = by_hand(engine, beside["pixels"][2:])
    np.testing.assert_allclose([found[key] for key in beside["ids"][2:]], expected, atol=1e-6)
    before = n_rows(engine)
    assert score_model(engine, "tiny", cutouts="pool").n_already == 32
    assert n_rows(engine) == before
    # They are in no evaluation: the view of scores is of the model's draw.
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM results.scores")) == 0


def test_a_member_that_the_guard_dropped_is_no_pool_cutout(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    with engine.begin() as connection:
        dropped = connection.execute(
            text(
                "INSERT INTO sampling.guard_drop (scheme_id, member_id, nearest_member_id, separation_arcsec) "
                "SELECT s.scheme_id, min(m.member_id), 1, 1.0 FROM sampling.draw_member m, sampling.split_scheme s "
                "WHERE m.label = 0 GROUP BY s.scheme_id RETURNING member_id"
            )
        ).scalar_one()
        cutout = connection.scalar(
            text(
                "SELECT c.cutout_id FROM imaging.cutout c JOIN sampling.draw_member m USING (ls_id) "
                "WHERE m.member_id = :m"
            ),
            {"m": dropped},
        )
    assert score_model(engine, "tiny", cutouts="pool").n_scored == N_POOL + len(KINDS)
    assert score_model(engine, "tiny").n_scored == len(world.labels) - 1
    assert cutout not in scores(engine)


def test_a_split_of_the_pool_is_that_of_the_cell(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM sampling.split_cell WHERE healpix_128 = :c"), {"c": beside["cells"][3]})
        splits = dict(connection.execute(select(SplitCell.healpix_128, SplitCell.split)).all())
    score_model(engine, "tiny", cutouts="pool", split=Split.TEST)
    cells = [*beside["cells"], *range(130, 134)]
    wanted = {key for key, cell in zip(beside["ids"], cells, strict=True) if splits.get(cell) == "test"}
    assert set(scores(engine)) == wanted
    assert 0 < len(wanted) < N_POOL


def test_held_out_lenses_are_scored_and_published_with_what_is_known(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    first, second = beside["lenses"]["held out"], beside["lenses"]["held out too"]
    papers = [("arXiv:2508.20087", "B", "ground"), ("arXiv:1906.00970", "A", "more"), ("x", "confident", "none")]
    with engine.begin() as connection:
        for paper, grade, name in papers:
            source = connection.scalar(
                insert(LensSource)
                .values(lens_id=first, catalog=paper, row_sha256=name, name=name, ra=320.0, dec=0.0, body={},
                        match_status="matched", separation_arcsec=0.1)
                .returning(LensSource.source_id)
            )  # fmt: skip
            connection.execute(insert(LensGrade).values(lens_id=first, source_id=source, paper=paper, grade=grade))
    result = score_model(engine, "tiny", cutouts="held_out")
    assert (result.n_scored, result.n_already) == (2, 0)
    expected, _ = by_hand(engine, beside["pixels"][N_POOL : N_POOL + 2])
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM results.held_out_scores ORDER BY lens_id")).all()
    assert [row.lens_id for row in rows] == [first, second]
    np.testing.assert_allclose([row.score for row in rows], expected, atol=1e-6)
    assert [(row.split, row.healpix_128, row.best_letter_grade) for row in rows] == [
        ("val", 130, "A"),
        ("val", 131, None),
    ]
    assert [row.papers for row in rows] == [["arXiv:1906.00970", "arXiv:2508.20087", "x"], []]
    assert {(row.model_name, row.ls_id, row.discovery) for row in rows} == {("tiny", None, "ground_imaging")}
    before = n_rows(engine)
    assert score_model(engine, "tiny", cutouts="held_out").n_already == 2
    assert n_rows(engine) == before

    # One that gets a training tier is out of the view at once, and out of the list with the next run.
    with engine.begin() as connection:
        connection.execute(update(Lens).where(Lens.lens_id == first).values(tier="B"))
        assert connection.scalars(text("SELECT lens_id FROM results.held_out_scores")).all() == [second]
    score_model(engine, "tiny", cutouts="held_out")
    with engine.connect() as connection:
        assert connection.scalars(select(HeldOut.lens_id)).all() == [second]
        # An ensemble of the same draw has its held-out lenses without a run of its own.
        assert connection.scalar(text("SELECT count(*) FROM results.held_out_scores")) == 1


def test_embeddings_are_the_penultimate_features_and_leave_scores_as_they_are(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    score_model(engine, "tiny", split=Split.TEST)
    plain = scores(engine)
    result = score_model(engine, "tiny", split=Split.TEST, with_embeddings=True)
    assert (result.n_scored, result.n_already) == (45, 0)
    assert scores(engine) == plain
    score_model(engine, "tiny", cutouts="held_out", with_embeddings=True)
    _, expected = by_hand(engine, world.pixels[-45:])
    with engine.connect() as connection:
        vectors = dict(connection.execute(select(Embedding.cutout_id, Embedding.vector)).all())
    assert len(vectors) == 47
    np.testing.assert_allclose([vectors[key] for key in world.cutout_ids[-45:]], expected, rtol=1e-4, atol=1e-5)
    before = n_rows(engine)
    assert score_model(engine, "tiny", split=Split.TEST, with_embeddings=True).n_already == 45
    assert n_rows(engine) == before
    # In one pass both are written, and the scores are those of a pass without embeddings, bit by bit.
    scorer = open_scorer(engine, "tiny", device="cpu")
    images = torch.from_numpy(preprocess(world.pixels, scorer.preprocessing))
    both, features = scorer.score_and_embed(images)
    np.testing.assert_array_equal(both, scorer.score_images(images))
    assert features.shape == (210, 512)


def test_an_interrupted_run_ends_with_the_scores_of_an_uninterrupted_one(
    engine: Engine, world: Any, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_model(engine, recipe(**QUICK))
    monkeypatch.setattr(score, "CHUNK", 60)
    score_model(engine, "tiny", with_embeddings=True)
    whole = scores(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM training.score"))
        connection.execute(text("DELETE FROM training.embedding"))

    def interrupt(_task: str, done: int, _total: int) -> None:
        if done == 120:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_model(engine, "tiny", with_embeddings=True, progress=interrupt)
    assert len(scores(engine)) == n_rows(engine)[2] == 120
    assert score_model(engine, "tiny", with_embeddings=True).n_already == 120
    assert scores(engine) == whole


def test_what_cannot_be_scored_is_refused_in_one_line(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe
) -> None:
    train_model(engine, recipe(**QUICK))
    with pytest.raises(PackError, match="no pack of this manifest"):
        score_model(engine, "tiny", cutouts="pool", source="pack")
    with pytest.raises(TrainingError, match="name no other draw"):
        score_model(engine, "tiny", cutouts="pool", draw="rings")
    with engine.begin() as connection:
        connection.execute(update(Cutout).where(Cutout.cutout_id == beside["ids"][5]).values(bands="rgz"))
    with pytest.raises(PreprocessingError, match="hold bands 'rgz'"):
        score_model(engine, "tiny", cutouts="pool")
    assert scores(engine) == {}
    with engine.begin() as connection:
        connection.execute(
            text("DELETE FROM imaging.cutout WHERE lens_id = ANY(:k)"), {"k": list(beside["lenses"].values())}
        )
    with pytest.raises(
        MissingInputError, match=r"no held-out lens of model 'tiny' has a cutout.*cutouts make --held-out"
    ):
        score_model(engine, "tiny", cutouts="held_out")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM imaging.cutout WHERE cutout_id = ANY(:k)"), {"k": list(beside["ids"])})
    with pytest.raises(MissingInputError, match="lies beside the draw of model 'tiny'"):
        score_model(engine, "tiny", cutouts="pool")
    with engine.begin() as connection:
        connection.execute(update(Model).values(kind="ensemble", preprocessing=null()))
    for ask in (lambda: score_model(engine, "tiny"), lambda: open_scorer(engine, "tiny")):
        with pytest.raises(TrainingError, match=r"'tiny' is an ensemble.*stronglens ensemble make"):
            ask()


def test_the_command_scores_what_its_options_say(
    engine: Engine, world: Any, beside: dict[str, Any], recipe: Recipe, run_cli: RunCli
) -> None:
    train_model(engine, recipe(**QUICK))
    done = run_cli("score", "tiny", "--held-out", "--embeddings")
    assert done.returncode == 0, done.stderr
    assert "2 scored, 0 had scores" in done.stdout
    done = run_cli("score", "tiny", "--pool")
    assert "32 scored, 2 had scores" in done.stdout, done.stderr
    assert n_rows(engine)[1:] == [34, 2, 2]
    both = run_cli("score", "tiny", "--pool", "--held-out")
    assert both.returncode == 2
    assert "give one of --pool and --held-out" in " ".join(both.stderr.replace("│", " ").split())
