"""Cross-validation over folds of the sky, on the tiny mock survey: the views against numpy, and nothing done twice."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, text

from analysis.errors import CrossValidationError
from analysis.evaluation.config import EvaluateConfig
from analysis.folds import CrossvalConfig, cross_validate, read_crossval
from analysis.folds_report import show
from etl.folds import FoldConfig, assign_folds
from etl.splits import SplitConfig, split_of_cells
from tests.builders import cells
from training.config import TrainConfig

SMALL = {"crop_px": 32, "annulus_inner_px": 12, "annulus_outer_px": 16}
QUICK: dict[str, Any] = {
    "name": "quick", "preprocessing": SMALL, "batch_size": 32, "epochs": 1, "epoch_images": 64, "device": "cpu",
    "balance": "sampling", "learning_rate": 1e-3, "draw": "rings", "scheme": "cells",
}  # fmt: skip


BASE = SplitConfig(seed=1)
FOLDS = FoldConfig(n_folds=2, val_fraction=0.4)


def config(**keys: object) -> CrossvalConfig:
    return CrossvalConfig(
        recipe=TrainConfig.model_validate(QUICK | keys),
        folds=FOLDS,
        evaluation=EvaluateConfig(fpr_targets=(0.1, 0.01), n_bootstrap=50),
    )


def read(engine: Engine, statement: str) -> pd.DataFrame:
    with engine.connect() as connection:
        return pd.read_sql(text(statement), connection)


def spread_over_the_sky(engine: Engine) -> None:
    """Put the objects of the little draw all over the sky, with the base scheme's cells by its rule."""
    with engine.begin() as connection:
        members = connection.execute(text("SELECT member_id FROM sampling.draw_member ORDER BY ra")).scalars().all()
        number = np.arange(len(members))
        ra, dec = (number * 137.508) % 360, np.degrees(np.arcsin(2 * (number + 0.5) / len(number) - 1))
        cell = cells(ra, dec)
        place = "UPDATE sampling.draw_member SET ra = :ra, dec = :dec, healpix_128 = :cell WHERE member_id = :member"
        rows = zip(members, ra.tolist(), dec.tolist(), cell.tolist(), strict=True)
        connection.execute(text(place), [{"member": m, "ra": r, "dec": d, "cell": c} for m, r, d, c in rows])
        connection.execute(text("DELETE FROM sampling.split_cell"))
        distinct = np.unique(cell)
        splits = split_of_cells(distinct, BASE)
        connection.execute(
            text("INSERT INTO sampling.split_cell (scheme_id, healpix_128, split, is_calibration) "
                 "SELECT scheme_id, :cell, :split, :split = 'val' AND sampling.is_calibration_cell(:cell, seed) "
                 "FROM sampling.split_scheme"),
            [{"cell": c, "split": str(s)} for c, s in zip(distinct.tolist(), splits, strict=True)],
        )  # fmt: skip


def test_a_cross_validation_tests_each_object_once_and_its_views_are_right(engine: Engine, world: Any) -> None:
    spread_over_the_sky(engine)
    done = cross_validate(engine, config())
    assert (done.name, done.n_trained) == ("quick-cv2", 2)
    scores = read(engine, "SELECT * FROM results.scores WHERE model_name LIKE 'quick-cv2-f%' AND split = 'test'")
    manifest = read(engine, "SELECT cutout_id, healpix_128 FROM results.manifest WHERE scheme_name = 'cells'")
    locked = split_of_cells(manifest.healpix_128.to_numpy(), BASE) == "test"
    assert scores.cutout_id.is_unique
    assert not set(scores.cutout_id) & set(manifest.cutout_id[locked])
    assert set(scores.cutout_id) >= set(manifest.cutout_id[~locked])

    views = {name: pd.DataFrame(rows) for name, rows in read_crossval(engine, done.name).items()}
    folds, over = views["cross_validation_folds"], views["cross_validation"]
    assert sorted(set(folds.fold)) == [0, 1]
    for fold in folds.itertuples():
        here = scores[scores.model_name == fold.model_name]
        assert (fold.n_test, fold.n_positives) == (len(here), here.label.sum())
        found_otherwise = (here.label == 1) & (here.discovery != "ground_imaging")
        assert fold.auc == pytest.approx(roc_auc_score(here.label[~found_otherwise], here.score[~found_otherwise]))
        assert fold.n_false_positives == (here.score[here.label == 0] >= fold.threshold).sum()
        assert fold.n_test_accesses == 1
        assert fold.n_test_sky_drops > 0
    assert (over.n_test_accesses == 2).all()
    auc = over[over.quantity == "auc"].iloc[0]
    by_fold = folds.drop_duplicates("fold").auc
    assert (auc["mean"], auc.sd_over_folds) == pytest.approx((by_fold.mean(), by_fold.std(ddof=1)))
    for row in over[over.quantity == "fpr"].itertuples():
        part = folds[folds.fpr_target == row.fpr_target]
        rates = (part.n_false_positives / part.n_negatives).to_numpy(float)
        assert (row.k, row.n) == (part.n_false_positives.sum(), part.n_negatives.sum())
        wilson = binomtest(int(row.k), int(row.n)).proportion_ci(method="wilson")
        assert (row.pooled_lo, row.pooled_hi) == pytest.approx((wilson.low, wilson.high), abs=1e-9)
        assert row.sd_over_folds == pytest.approx(rates.std(ddof=1))
        p = row.k / row.n
        assert row.sd_binomial == pytest.approx(np.sqrt((p * (1 - p) / part.n_negatives.to_numpy(float)).mean()))

    counted = "SELECT (SELECT count(*) FROM training.score) AS s, (SELECT count(*) FROM evaluation.test_access) AS t"
    before = read(engine, counted)
    assert cross_validate(engine, config()).n_trained == 0
    assert read(engine, counted).equals(before)
    with pytest.raises(CrossValidationError, match="quick-cv2 exists with recipe_sha256"):
        cross_validate(engine, config(learning_rate=2e-3))

    show(done.name, read_crossval(engine, done.name), console := Console(width=160, record=True, file=io.StringIO()))
    shown = console.export_text()
    assert "sd of counting alone" in shown
    assert shown.count("folds held out read 2 times in all") == 2
    assert f"{by_fold.iloc[0]:.3f}" in shown


def test_the_command_refuses_folds_of_other_rules_in_one_line(
    engine: Engine, world: Any, run_cli: Any, tmp_path: Any
) -> None:
    spread_over_the_sky(engine)
    assign_folds(engine, FOLDS.model_copy(update={"base": "cells"}))
    file = tmp_path / "quick.yaml"
    file.write_text(json.dumps(QUICK))
    refused = run_cli("crossval", str(file), "--folds", "2")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "split scheme cv2-f0 exists with train_below 0.6 (asked: 0.85)" in refused.stderr


def test_the_name_and_the_recipe_of_a_fold_follow_from_those_of_the_whole() -> None:
    asked = config(accept_gate="for a test")
    recipe = asked.recipe_of(1)
    assert (recipe.name, recipe.scheme, recipe.accept_gate) == ("quick-cv2-f1", "cv2-f1", "for a test")
    assert asked.recipe_sha256() == config(name="other").recipe_sha256()
    assert asked.recipe_sha256() != config(seed=1).recipe_sha256()
