"""Experiments: what a file may say, and one run on the tiny mock survey with its write-up held against the views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, text

from analysis.errors import NoScoresError, WriteUpError
from analysis.experiment.config import Expectation, ExperimentConfig, plan
from analysis.experiment.read import read_findings
from analysis.experiment.run import run_experiment
from analysis.experiment.write import is_met, save, table, write_up
from db.config import load_config
from db.errors import ConfigError
from db.settings import CHECKOUT

SMALL = {"crop_px": 32, "annulus_inner_px": 12, "annulus_outer_px": 16}
QUICK = {"preprocessing": SMALL, "batch_size": 32, "epochs": 1, "epoch_images": 128, "warmup_fraction": 0.0}
DEMO = "training/configs/demo.yaml"
EXPECTED = ("| an AUC is", "| metadata tell")
AUDITED = (
    "INSERT INTO imaging.shortcut_feature (draw_id, version, feature, kind, is_expected_physics, n_positives, "
    "n_negatives, n_matched_positives, auc_raw, auc_matched, auc_lo, auc_hi, verdict, judged_by, run_id) "
    "SELECT draw_id, 'v1', 'metadata_only', 'metadata', false, 70, 140, 70, 0.7, 0.55, 0.5, 0.62, 'green', 'matched', "
    "run_id FROM sampling.draw"
)


def body(**keys: object) -> dict[str, Any]:
    base = {
        "name": "trial",
        "asks": "Which is better?",
        "seeds": [1],
        "arms": [
            {"name": "slow", "recipe": DEMO, "overrides": QUICK},
            {"name": "fast", "recipe": DEMO, "overrides": QUICK | {"learning_rate": 0.002}},
        ],
        "ensembles": [{"name": "both", "arms": ["slow", "fast"]}],
        "control": {"arm": "slow", "seed": 1},
        "evaluation": {"fpr_targets": [0.1, 0.01], "n_bootstrap": 50},
        "fpr_target": 0.1,
        "expectations": [
            {"says": "an AUC is no more than one", "of": "auc", "arm": "both", "at_most": 1},
            {"says": "an AUC is more than one", "of": "auc", "arm": "slow", "at_least": 1.1},
            {"says": "metadata tell no lenses", "of": "metadata_auc", "at_most": 0.6},
        ],
    }
    return base | keys


def test_the_plan_has_every_arm_and_seed_members_before_ensembles_and_the_control() -> None:
    config = ExperimentConfig.model_validate(body(seeds=[1, 2]))
    planned = plan(config)
    assert [model.model for model in planned] == [
        "trial-slow-s1", "trial-slow-s2", "trial-fast-s1", "trial-fast-s2", "trial-both-s1", "trial-both-s2",
        "trial-shuffled-s1",
    ]  # fmt: skip
    recipes = {model.model: model.recipe for model in planned if model.recipe is not None}
    assert [recipe.seed for recipe in recipes.values()] == [1, 2, 1, 2, 1]
    assert [recipe.shuffle_labels for recipe in recipes.values()] == [False] * 4 + [True]
    assert recipes["trial-fast-s1"].learning_rate == 0.002
    assert planned[5].members == ("trial-slow-s2", "trial-fast-s2")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"arms": []}, "arms"),
        ({"seeds": []}, "seeds"),
        ({"asks": " "}, "asks"),
        ({"fpr_target": 0.001}, "not among evaluation.fpr_targets"),
        ({"ensembles": [{"name": "both", "arms": ["slow", "ghost"]}]}, "no arm is named 'ghost'"),
        ({"ensembles": [{"name": "slow", "arms": ["slow", "fast"]}]}, "a name of its own"),
        ({"expectations": [{"says": "x", "of": "auc", "arm": "slow"}]}, "neither at_least nor at_most"),
        ({"expectations": [{"says": "x", "of": "auc", "at_least": 0}]}, "are of an arm"),
        ({"control": None, "expectations": [{"says": "x", "of": "shuffled_auc", "at_most": 1}]}, "needs a control"),
        ({"speed": 1}, "unknown key 'speed'"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_line(keys: dict[str, object], words: str, tmp_path: Path) -> None:
    file = tmp_path / "trial.yaml"
    file.write_text(yaml.safe_dump(body(**keys)))
    with pytest.raises(ConfigError) as caught:
        load_config(ExperimentConfig, file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_override_that_a_recipe_does_not_know_is_refused() -> None:
    arms = [{"name": "slow", "recipe": DEMO, "overrides": {"colour": "blue"}}]
    with pytest.raises(ConfigError, match="unknown key 'colour'"):
        plan(ExperimentConfig.model_validate(body(arms=arms, ensembles=[], expectations=[])))


@pytest.mark.parametrize("name", ["mock", "mock_labels"])
def test_the_experiments_that_come_along_can_be_planned(name: str) -> None:
    config = load_config(ExperimentConfig, CHECKOUT / "training" / "configs" / "experiments" / f"{name}.yaml")
    planned = plan(config)
    assert len({model.model for model in planned}) == len(planned)


def test_a_number_at_a_limit_is_met_and_one_that_is_not_there_is_not() -> None:
    expected = Expectation(says="x", of="shuffled_auc", at_least=0.45, at_most=0.55)
    assert [is_met(expected, value) for value in (0.44, 0.45, 0.55, 0.56, None, float("nan"))] == [
        False, True, True, False, False, False,
    ]  # fmt: skip


def test_a_table_is_markdown_whatever_its_words() -> None:
    assert table(["a", "b"], [["1", "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


def test_an_experiment_is_run_once_and_written_up_from_the_views(
    engine: Engine, world: Any, run_cli: Any, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        for name in ("catalog.lens", "sampling.draw_member"):
            connection.execute(text(f"UPDATE {name} SET tier = 'A' WHERE tier = 'B'"))
        connection.execute(text(AUDITED))
    asked = body(draw="rings", scheme="cells")
    config = ExperimentConfig.model_validate(asked)
    with pytest.raises(NoScoresError, match="trial-slow-s1 has no result of the test split"):
        read_findings(engine, config)
    run_experiment(engine, config)
    page = write_up(config, read_findings(engine, config), "stronglens experiment run trial.yaml")
    with engine.connect() as connection:
        points = connection.execute(
            text(
                "SELECT * FROM results.threshold_table WHERE split = 'test' AND fpr_target = 0.1 "
                "AND model_name LIKE 'trial-%' ORDER BY model_name"
            )
        ).all()
        readings = connection.execute(
            text(
                "SELECT m.name, a.purpose FROM evaluation.test_access a JOIN training.model m USING (model_id) "
                "WHERE m.name LIKE 'trial-%' ORDER BY m.name"
            )
        ).all()
    assert [point.model_name for point in points] == ["trial-both-s1", "trial-fast-s1", "trial-slow-s1"]
    for point in points:
        assert point.n_tier_a == 15
        arm = point.model_name.split("-")[1]
        assert f"| {arm} | 1 | {point.n_recovered_tier_a}/15 = {point.recall_tier_a:.3f} (" in page
    assert [row.name for row in readings] == [
        "trial-both-s1", "trial-fast-s1", "trial-shuffled-s1", "trial-slow-s1",
    ]  # fmt: skip
    assert {row.purpose for row in readings} == {"experiment trial"}
    assert "4 in all, 1 each of the 4 models" in page
    assert "No number here says anything about DR10" in page
    verdicts = [line.split(" | ")[-1].strip(" |") for line in page.splitlines() if line.startswith(EXPECTED)]
    assert verdicts == ["pass", "FAIL", "pass"]
    assert "AUC 0.700 raw, 0.550 matched (95 % 0.500-0.620), verdict green" in page
    assert "`stronglens experiment run trial.yaml`" in page

    file, out = tmp_path / "trial.yaml", tmp_path / "experiments.md"
    file.write_text(yaml.safe_dump(asked))
    done = run_cli("experiment", "run", str(file), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{out}: written"
    again = out.read_text(encoding="utf-8")
    assert not save(again, out)
    assert again.split("## Made by")[0] == page.split("## Made by")[0]  # and the test split was not read again


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(WriteUpError, match=r"nowhere.*cannot be written .*choose another --out"):
        save("page", tmp_path / "nowhere" / "page.md")
