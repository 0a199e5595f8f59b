"""The stage itself: what is stale is read, counted and written; the test split only for a reason."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import Connection, Engine

from analysis.bootstrap import CellBootstrap
from analysis.calibration import CalibrateConfig, calibrate
from analysis.errors import NoScoresError, ReasonMissingError
from analysis.evaluation import ledger
from analysis.evaluation.conditions import axes_of, count_conditions
from analysis.evaluation.config import EvaluateConfig
from analysis.evaluation.domain import domain_axis
from analysis.evaluation.metrics import metric_rows
from analysis.evaluation.samples import held_out_samples, samples_of
from analysis.evaluation.write import (
    choose_points,
    forget_results,
    points_of,
    replace_counts,
    replace_metrics,
)
from analysis.operating import count_all, count_held_out
from analysis.scores import ScoredObjects, read_held_out, read_scores
from analysis.survey_rates import replace_survey_rates
from db.lock import only_one
from db.models import Split
from db.models.training import Model
from db.provenance import RecordedRun, canonical_config, recorded_run
from training.control import control_manifest
from training.manifest import Manifest, read_manifest
from training.registry import find_model


@dataclass(frozen=True)
class EvaluationSummary:
    """Which splits were evaluated now, and what is on record of the test split."""

    model_id: int
    model_name: str
    evaluated: tuple[str, ...]
    is_test_dropped: bool
    test: ledger.TestReadings

    @property
    def was_evaluated(self) -> bool:
        """Whether anything was read and written now."""
        return bool(self.evaluated)

    @property
    def n_test_accesses(self) -> int:
        """How often the test split was read for the model."""
        return self.test.n

    @property
    def about_test(self) -> str:
        """What to tell a reader about the test split, in one line."""
        times = f"{self.test.n} reading{'' if self.test.n == 1 else 's'} on record"
        if Split.TEST in self.evaluated:
            return f"test split: read now ({self.test.shown_purpose}); {times}"
        if self.test.shown_at is not None:
            when = self.test.shown_at.date().isoformat()
            return f"test split: as read on {when} ({self.test.shown_purpose}), not read again; {times}"
        if self.is_test_dropped:
            return f"test split: its results were of other scores or thresholds and are gone; {times}; --test REASON"
        return f"test split: no result of it is published; {times}; --test REASON reads it"


def evaluate_model(
    engine: Engine, model: str, config: EvaluateConfig, *, test_reason: str | None = None, again: bool = False
) -> EvaluationSummary:
    """Evaluate a model on val and, for a reason, on the test split; write the result, and each reading of test.

    A split that was evaluated with the same configuration and manifest and has no newer scores is left alone, unless
    `again`. Without a reason, what was published of the test split stays; it is deleted where thresholds or scores have
    changed since.

    Raises
    ------
    ModelNotFoundError
        When there is no such model.
    NoScoresError
        When a cutout of the splits that are read has no score, or a class is absent there.
    ReasonMissingError
        When the reason is blank.
    """
    if test_reason is not None and not test_reason.strip():
        raise ReasonMissingError("the test split is read for a reason, and this one is blank: say why, in a few words")
    found = find_model(engine, model)
    manifest = read_manifest(engine, found.draw_id, found.scheme_id, found.cutout_version)
    recorded = {"model": found.name, "manifest_sha256": manifest.digest(), **config.model_dump(mode="json")}
    wanted = (Split.VAL,) if test_reason is None else (Split.VAL, Split.TEST)
    job = _Job(engine, found, manifest, config, test_reason)
    splits = wanted if again else _stale(job, wanted, canonical_config(recorded)[0])
    if not splits:
        return job.summary((), False)
    with (
        only_one(engine, f"the evaluation of model {found.name}"),
        recorded_run(engine, command="evaluate", config=recorded) as run,
        engine.begin() as connection,
    ):
        is_dropped = job.evaluate(connection, run, splits)
    return job.summary(splits, is_dropped)


def _stale(job: _Job, wanted: tuple[Split, ...], config_sha256: str) -> tuple[Split, ...]:
    with job.engine.connect() as connection:
        stale = [split for split in wanted if not ledger.is_current(connection, job.model, split, config_sha256)]
    # Thresholds that may change leave no result of the test split as it is.
    return wanted if Split.VAL in stale else tuple(stale)


@dataclass(frozen=True)
class _Job:
    """One evaluation of one model."""

    engine: Engine
    model: Model
    manifest: Manifest
    config: EvaluateConfig
    test_reason: str | None

    def summary(self, splits: tuple[Split, ...], is_dropped: bool) -> EvaluationSummary:
        with self.engine.connect() as connection:
            readings = ledger.test_readings(connection, self.model)
        return EvaluationSummary(self.model.model_id, self.model.name, splits, is_dropped, readings)

    def evaluate(self, connection: Connection, run: RecordedRun, splits: tuple[Split, ...]) -> bool:
        """Evaluate some splits; say whether results of the test split were deleted."""
        objects = self._objects(connection, tuple(dict.fromkeys((Split.VAL, *splits))))
        is_changed = False
        if Split.VAL in splits and not self.model.is_label_shuffled:
            on_val = objects.score[(objects.split == Split.VAL) & (objects.label == 0)]
            is_changed = choose_points(connection, self.model.model_id, on_val, self.config.fpr_targets)
        is_dropped = Split.TEST not in splits and self._drop_outdated(connection, is_changed)
        for split in splits:
            self._evaluate_split(connection, objects.where(objects.split == split), split)
            ledger.record(connection, self.model, split, run.run_id, self.test_reason)
        if not self.model.is_label_shuffled:
            self._calibrate(connection, objects, run.run_id)
        return is_dropped

    def _objects(self, connection: Connection, splits: tuple[Split, ...]) -> ScoredObjects:
        """Read the scores of the manifest: a member that the guard dropped may have one and does not count."""
        scored = read_scores(connection, self.model.model_id, self.model.name, splits)
        objects = scored.where(np.isin(scored.cutout_id, self.manifest.cutout_id))
        if self.model.is_label_shuffled:
            if self.manifest.digest() != self.model.manifest_sha256:
                raise NoScoresError(
                    f"control {self.model.name}: the manifest changed since it was trained, so the labels that it was "
                    "dealt are not known any more: train another control under another name"
                )
            objects = _with_dealt_labels(self.engine, self.model, objects)
        for split in splits:
            _refuse_incomplete(self.model, self.manifest.part(split), objects.where(objects.split == split), split)
        return objects

    def _drop_outdated(self, connection: Connection, is_changed: bool) -> bool:
        """Delete what is published of the test split where it no longer goes with the thresholds, scores or cutouts."""
        if ledger.test_readings(connection, self.model).shown_at is None:
            return False
        if not is_changed and ledger.still_holds(connection, self.model, Split.TEST, self.manifest.digest()):
            return False
        forget_results(connection, self.model.model_id, Split.TEST)
        ledger.forget(connection, self.model, Split.TEST)
        return True

    def _calibrate(self, connection: Connection, objects: ScoredObjects, run_id: int) -> None:
        """Fit on the calibration part of val and measure what was read; val is always among it."""
        n_bootstrap, seed = self.config.n_bootstrap, self.config.seed
        fits = min(CalibrateConfig.n_bootstrap, n_bootstrap)
        settings = CalibrateConfig(n_bootstrap=fits, n_bootstrap_metrics=n_bootstrap, seed=seed)
        calibrate(connection, self.model.model_id, objects, settings, run_id)
        replace_survey_rates(connection, self.model.model_id, objects, n_bootstrap=n_bootstrap, seed=seed)

    def _evaluate_split(self, connection: Connection, here: ScoredObjects, split: Split) -> None:
        bootstrap = CellBootstrap.draw(here.healpix_128, self.config.n_bootstrap, self.config.seed)
        rows = metric_rows(here, self.model.is_label_shuffled, bootstrap)
        replace_metrics(connection, self.model.model_id, split, rows)
        if self.model.is_label_shuffled:
            return
        points = points_of(connection, self.model.model_id)
        thresholds = [threshold for _, threshold in points]
        counts = [count_all(here, threshold) for threshold in thresholds]
        axes = [*axes_of(here), *domain_axis(self.engine, self.model, self.manifest, here)]
        conditions = count_conditions(here, samples_of(here), axes, thresholds, bootstrap)
        held = read_held_out(connection, self.model.model_id, None if split == Split.TEST else split)
        if len(held):
            cells = CellBootstrap.draw(held.healpix_128, self.config.n_bootstrap, self.config.seed)
            found = count_conditions(held, held_out_samples(held, split), axes_of(held), thresholds, cells)
            conditions = [own + more for own, more in zip(conditions, found, strict=True)]
            counts = [
                own + count_held_out(held, split, threshold) for own, threshold in zip(counts, thresholds, strict=True)
            ]
        replace_counts(connection, split, points, counts, conditions)


def _with_dealt_labels(engine: Engine, control: Model, objects: ScoredObjects) -> ScoredObjects:
    """Give a control's objects the labels that it was dealt: against these, not the true ones, its AUC must be 0.5."""
    dealt = control_manifest(engine, control)
    order = np.searchsorted(dealt.cutout_id, objects.cutout_id)
    none = np.full(len(objects), "")
    return replace(objects, label=dealt.label[order].astype(np.int64), tier=none, discovery=none)


def _refuse_incomplete(model: Model, wanted: Manifest, here: ScoredObjects, split: Split) -> None:
    """Rates of a half-scored split would be rates of whichever cutouts came first."""
    n_missing = int((~np.isin(wanted.cutout_id, here.cutout_id)).sum())
    if n_missing:
        raise NoScoresError(
            f"model {model.name}: {n_missing:,} of {len(wanted):,} cutouts of the {split} split have no score: "
            f"run `stronglens score {model.name}` first"
        )
    for label, word in ((0, "negatives"), (1, "positives")):
        if not (here.label == label).any():
            raise NoScoresError(f"model {model.name}: the {split} split has no {word}; use a draw that reaches it")
