"""The verdict of a validation binds training, unless somebody says why not; the reason is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, delete, func, insert, select, update

from db.models.imaging import Cutout, Gate, Quarantine, Validation
from db.models.provenance import Config, Run
from db.models.training import Model
from training.config import TrainConfig
from training.errors import GateError
from training.manifest import named_manifest
from training.train import train_model

QUICK = {"epochs": 1, "epoch_images": 32}
Recipe = Callable[..., TrainConfig]
AGAIN = "run `stronglens cutouts validate --draw rings --version v1`"


def say_no_go(engine: Engine) -> None:
    with engine.begin() as connection:
        verdict = connection.execute(select(Validation.draw_id, Validation.run_id)).one()
        connection.execute(update(Validation).values(is_go=False))
        rule = {"value": 1.3, "limit_value": 1.1, "is_passed": False, "detail": "cores differ", "version": "v1"}
        connection.execute(insert(Gate).values(rule | {"rule": "core_ratio"} | verdict._asdict()))


def change_a_cutout(engine: Engine) -> None:
    with engine.begin() as connection:
        newest = select(func.max(Cutout.cutout_id)).scalar_subquery()
        connection.execute(update(Cutout).where(Cutout.cutout_id == newest).values(sha256="0" * 64))


def forget(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(delete(Validation))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (forget, f"never validated: {AGAIN} first"),
        (change_a_cutout, f"its cutouts changed since they were validated: {AGAIN} again"),
        (say_no_go, f"its validation says NO-GO (core_ratio): mend what results.gates lists and {AGAIN} again"),
    ],
)
def test_what_is_not_validated_as_it_is_now_or_is_no_go_is_not_trained_on(
    engine: Engine, world: Any, recipe: Recipe, change: Callable[[Engine], None], words: str
) -> None:
    change(engine)
    with pytest.raises(GateError) as refused:
        train_model(engine, recipe(**QUICK))
    assert str(refused.value) == (
        f"draw 'rings', cutouts v1: {words}, or say why it may be trained on: --accept-gate \"REASON\""
    )
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Model)) == 0


def test_a_reason_lets_it_train_and_is_kept_with_the_model_and_the_run(
    engine: Engine, world: Any, recipe: Recipe, run_cli: Any, tmp_path: Path
) -> None:
    say_no_go(engine)
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe(**QUICK).model_dump(mode="json")))
    for words in ("", "  "):
        refused = run_cli("train", str(file), "--accept-gate", words)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "accept_gate" in refused.stderr
    trained = run_cli("train", str(file), "--accept-gate", "the cores differ by tier, looked at by hand")
    assert trained.returncode == 0, trained.stderr
    with engine.connect() as connection:
        reason = connection.scalar(select(Model.gate_accepted_reason))
        body = connection.scalar(
            select(Config.body)
            .join(Run, Run.config_sha256 == Config.config_sha256)
            .where(Run.command == "train", Run.status == "succeeded")
        )
    assert reason == body["accept_gate"] == "the cores differ by tier, looked at by hand"
    # The model is there: nothing is trained, and nobody is asked for the reason again.
    assert "already trained" in run_cli("train", str(file)).stdout


def test_a_go_is_not_accepted_but_obeyed(engine: Engine, world: Any, recipe: Recipe) -> None:
    train_model(engine, recipe(**QUICK, accept_gate="in case"))
    with engine.connect() as connection:
        assert connection.scalar(select(Model.gate_accepted_reason)) is None


def test_a_quarantined_cutout_is_not_trained_on_and_changes_the_verdict(
    engine: Engine, world: Any, recipe: Recipe
) -> None:
    bad = world.cutout_ids[3]
    with engine.begin() as connection:
        run_id = connection.scalar(select(Validation.run_id))
        connection.execute(insert(Quarantine).values(cutout_id=bad, reason="constant", detail="x", run_id=run_id))
    manifest = named_manifest(engine, "rings", "cells", "v1")
    assert set(world.cutout_ids) - set(manifest.cutout_id.tolist()) == {bad}
    with pytest.raises(GateError, match="changed since they were validated"):
        train_model(engine, recipe(**QUICK))
    train_model(engine, recipe(**QUICK, accept_gate="one is quarantined"))
    with engine.connect() as connection:
        n_train = connection.scalar(select(Model.n_train))
        kept = connection.scalar(select(Model.manifest_sha256))
    assert n_train == 119
    assert kept == manifest.digest()
