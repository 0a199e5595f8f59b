"""Leaks planted on purpose, and the alarms that they set off.

Others are planted where their alarms are tested: a cell in two splits, a cell against the rule and a dropped guard in
tests/etl/test_splits.py; the same of folds, and their locked test sky, in tests/etl/test_folds.py; the same pixels in
two splits in tests/analysis/test_views.py; a shortcut through metadata, border or exposures in
tests/etl/test_validation_audit.py, and that its NO-GO stops training in tests/training/test_gate.py; calibration cells
in the choice of epochs in tests/training/test_labels.py; thresholds that know the test split in
tests/analysis/test_evaluate.py; calibrations fitted beside their part in tests/analysis/test_calibration.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sqlalchemy import Engine, select, text, update

from db.models import Split
from db.models.imaging import Cutout
from db.models.training import Score
from db.settings import settings
from etl.draw.rules import DrawConfig
from etl.draw.stage import draw_negatives
from etl.errors import SamplingError
from etl.match import MatchConfig, match_lenses
from etl.splits import SplitConfig, assign_splits, split_of_cells
from tests.builders import ARCSEC, cells, insert_galaxies, insert_lenses
from training import registry
from training.config import TrainConfig
from training.control import control_manifest
from training.score import score_model
from training.train import train_model

NO_VARIATION = {"symmetries": False, "noise_mads": 0.0}


def test_two_deflectors_of_one_system_in_two_splits_stop_the_assignment(engine: Engine) -> None:
    ra = np.arange(20.0, 60.0, 5 * ARCSEC)
    split = split_of_cells(cells(ra, np.zeros(len(ra))), SplitConfig())
    first = int(np.flatnonzero(split[:-4] != split[4:])[0])
    pair = ra[[first, first + 4]]
    with engine.begin() as connection:
        insert_lenses(connection, pair, [0.0, 0.0], ["A", "B"])
        insert_galaxies(connection, [*pair, *(pair + 1.0)], [0.0] * 4)
    match_lenses(engine, MatchConfig())
    draw_negatives(engine, DrawConfig())
    with pytest.raises(SamplingError, match="split_leakage has 1 rows"):
        assign_splits(engine, SplitConfig())
    with engine.connect() as connection:
        found = connection.execute(text("SELECT violation, separation_arcsec FROM results.split_leakage")).all()
    assert [row.violation for row in found] == ["pair across splits"]
    assert found[0].separation_arcsec == pytest.approx(20.0, abs=1e-6)


def test_images_that_leaked_out_of_training_betray_themselves_to_the_control(
    engine: Engine, world: Any, recipe: Callable[..., TrainConfig]
) -> None:
    with engine.begin() as connection:
        for number in range(90):  # val and test, 45 each, are training images again, each with its own label
            leaked = 120 + number
            source = next(i for i in range(number, 120) if world.labels[i] == world.labels[leaked])
            data = stored(world.uris[source]).read_bytes()
            stored(world.uris[leaked]).write_bytes(data)
            connection.execute(
                update(Cutout)
                .where(Cutout.cutout_id == world.cutout_ids[leaked])
                .values(sha256=hashlib.sha256(data).hexdigest())
            )
        found = set(connection.scalars(text("SELECT violation FROM results.split_leakage")))
    assert "same pixels in two splits" in found
    control = recipe(shuffle_labels=True, epochs=16, patience=16, augment=NO_VARIATION, accept_gate="leaks on purpose")
    train_model(engine, control)
    score_model(engine, "tiny", split=Split.TEST)
    with engine.connect() as connection:
        scores = connection.scalars(select(Score.score).order_by(Score.cutout_id)).all()
    dealt = control_manifest(engine, registry.find_model(engine, "tiny")).part(Split.TEST)
    # 15 against 30: the standard deviation of an AUC without skill is 0.09.
    assert roc_auc_score(dealt.label, scores) > 0.5 + 3 * 0.09


def stored(uri: str) -> Path:
    return Path(settings().store) / uri.removeprefix("store:")
