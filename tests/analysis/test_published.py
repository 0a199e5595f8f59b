"""Published results through our own functions and views."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import beta
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sqlalchemy import Engine, text

from analysis.errors import PublishedFileError
from analysis.published import expected, files
from analysis.published.check import check_published


def test_every_published_number_is_found_and_nothing_stays(engine: Engine, shared_data: Path) -> None:
    checks = check_published(engine, shared_data)
    assert [check.what for check in checks if not check.is_ok] == []
    n_checks = Counter(check.section for check in checks)
    assert n_checks == {"recall": 42, "false positives": 42, "calibration": 3, "ensembles": 1, "labelled scores": 45}
    with engine.connect() as connection:
        for table in ("training.model", "evaluation.tally", "evaluation.interval", "sampling.draw"):
            assert connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
        assert (
            connection.scalar(text("SELECT status FROM provenance.run WHERE command = 'published check'"))
            == "succeeded"
        )


RATES = [*expected.CONFIDENT.values(), *expected.BASELINE_RECALL.values(), *expected.BASELINE_FPR.values()]


@pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{rate.k}of{rate.n}")
def test_the_expected_intervals_are_what_their_definitions_say(rate: expected.Rate) -> None:
    """Wilson: the ends lie 1.96 of their own standard errors from k / n. Jeffreys: 2.5 % of the density beyond each."""
    digits = 5e-8 if rate.n > 600 and rate.k < 100 else 5e-6
    for end in rate.wilson:
        if end > 0:
            assert abs(rate.k / rate.n - end) / np.sqrt(end * (1 - end) / rate.n) == pytest.approx(1.95996, rel=2e-3)
    lo, hi = rate.jeffreys
    density = beta(rate.k + 0.5, rate.n - rate.k + 0.5).pdf
    middle = quad(density, lo or 1e-15, hi, points=[rate.k / rate.n] if rate.k else None, limit=200)[0]
    wanted = 0.975 if rate.k == 0 else 0.95
    assert middle == pytest.approx(wanted, abs=2 * digits * max(density(lo) if lo else 0.0, density(hi)) + 1e-4)


def test_what_is_expected_of_labelled_scores_is_what_scikit_learn_says(shared_data: Path) -> None:
    labelled = files.read_labelled(shared_data)
    val, test, label = labelled.split == "val", labelled.split == "test", labelled.label
    odds = np.stack([log_odds(labelled.scores[name]) for name in files.NETWORKS], axis=1)
    made = dict(labelled.scores)
    prior = log_odds(np.array([label[val].mean()]))[0]
    for n, word in ((2, "two"), (3, "three")):
        made[f"average of {word}"] = np.mean([labelled.scores[name] for name in files.NETWORKS[:n]], axis=0)
        stacked = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=5000))
        made[f"stacking of {word}"] = stacked.fit(odds[val, :n], label[val]).predict_proba(odds[:, :n])[:, 1]
        members = [platt(odds[val, i], label[val])(odds[:, i]) for i in range(n)]
        made[f"bayes of {word}"] = expit(np.sum(members, axis=0) - (n - 1) * prior)
    assert made.keys() == expected.LABELLED.keys()
    for name, scores in made.items():
        p, y = scores[test], label[test]
        calibrated = expit(platt(log_odds(scores[val]), label[val])(log_odds(p)))
        order = np.argsort(p, kind="stable")
        bins = np.array_split(order, 15)
        error = sum(len(one) * abs(y[one].mean() - p[one].mean()) for one in bins) / len(p)
        skill = 1 - brier_score_loss(y, p) / (y.mean() * (1 - y.mean()))
        found = (roc_auc_score(y, p), error, log_loss(y, p), log_loss(y, calibrated), skill)
        assert found == pytest.approx(expected.LABELLED[name], abs=6e-6), name


def log_odds(p: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    clipped = np.clip(p, 2**-53, 1 - 2**-53)
    return np.log(clipped) - np.log1p(-clipped)


def platt(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> Any:
    """Platt's fit as a logistic regression on two weighted copies of every object."""
    n_positives = y.sum()
    target = np.where(y == 1, (n_positives + 1) / (n_positives + 2), 1 / (len(y) - n_positives + 2))
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000))
    weight = {"logisticregression__sample_weight": np.r_[target, 1 - target]}
    fitted.fit(np.r_[x, x][:, None], np.r_[np.ones(len(x)), np.zeros(len(x))], **weight)
    return lambda z: fitted.decision_function(z[:, None])


def test_a_number_that_differs_is_said_and_fails_the_command(
    engine: Engine, shared_data: Path, tmp_path: Path, run_cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    for name in (files.CONFIDENT, files.BASELINE, files.CONFUSERS, files.LABELLED):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shared_data / name, folder / name)
    body = json.loads((folder / files.CONFUSERS).read_text())
    body["by_pool"]["N1"]["fp"] += 1
    (folder / files.CONFUSERS).write_text(json.dumps(body))
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", engine.url.render_as_string(hide_password=False))
    done = run_cli("published", "check", "--data", str(folder), "--json")
    assert done.returncode == 1
    differs = [row["what"] for row in json.loads(done.stdout) if not row["is_ok"]]
    assert "ResNet-18, N1 all, at 0.5: k" in differs
    assert "ResNet-18, tier_a, at 0.5: k" not in differs


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        (files.CONFIDENT, None, "cannot be read"),
        (files.CONFIDENT, b"{", "is not JSON"),
        (files.CONFIDENT, b'{"real_lenses": [{"score": 1.5}]}', "real_lenses.0.score"),
        (files.BASELINE, b'{"n_samples": 3}', "overall"),
        (files.LABELLED, b"PAR1", "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(name: Path, content: bytes | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    kinds = {files.CONFIDENT: files.ConfidentLenses, files.BASELINE: files.Baseline}
    with pytest.raises(PublishedFileError, match=why) as caught:
        files.read_labelled(tmp_path) if name == files.LABELLED else files.read_json(tmp_path, name, kinds[name])
    assert str(path) in str(caught.value)
