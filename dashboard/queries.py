"""What the pages read: the public views of `results`, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from sqlalchemy import Engine, Select, TableClause, column, func, select, table

from db.engine import open_engine
from db.settings import settings

Rows = list[dict[str, Any]]

MAX_ROWS = 1000
"""Rows of a gallery at most: paging further than this is for SQL."""

_cached = st.cache_data(ttl=15, show_spinner=False, hash_funcs={Engine: lambda engine: str(engine.url)})


@dataclass(frozen=True)
class ModelChoice:
    """One evaluated model."""

    model_id: int
    name: str
    survey: str
    architecture: str
    is_label_shuffled: bool


@dataclass(frozen=True)
class ErrorFilter:
    """Which false positives or false negatives to show; None: all."""

    model_id: int
    fpr_target: float
    split: str | None = None
    kinds: tuple[tuple[str, str], ...] = ()


def engine() -> Engine:
    """The engine of the database that the environment names, opened and checked once for all sessions."""
    found = settings()
    return _engine(found.database_url, str(found.home))


def forget_engine() -> None:
    """Open the database anew at the next question: its server went away."""
    _engine.clear()


@st.cache_resource(show_spinner="Opening the database")
def _engine(_configured: str | None, _home: str) -> Engine:
    return open_engine()


@_cached
def stage_counts(engine: Engine) -> Rows:
    """Counts of every stage, in the order of the pipeline."""
    view = _view("stage_counts", "position", "stage", "survey", "n")
    return _rows(engine, select(view).order_by(view.c.position, view.c.stage, view.c.survey))


@_cached
def model_metrics(engine: Engine) -> Rows:
    """Every metric of every evaluated model, the newest model first and controls last."""
    view = _view(
        "model_metrics",
        *("model_id", "model_name", "survey", "architecture", "is_label_shuffled", "split", "metric"),
        *("value", "lo", "hi", "interval_method", "n_positives", "n_negatives", "n_test_accesses"),
    )
    order = (view.c.is_label_shuffled, view.c.model_id.desc(), view.c.metric, view.c.split)
    return _rows(engine, select(view).order_by(*order))


def models(engine: Engine) -> list[ModelChoice]:
    """The models that have been evaluated, the newest first and controls last."""
    fields = ("model_id", "model_name", "survey", "architecture", "is_label_shuffled")
    return [ModelChoice(*key) for key in dict.fromkeys(tuple(row[f] for f in fields) for row in model_metrics(engine))]


@_cached
def threshold_table(engine: Engine, model_id: int) -> Rows:
    """Every operating point of a model on each split, the loosest first."""
    view = _view(
        "threshold_table",
        *("model_id", "fpr_target", "threshold", "chosen_on", "n_exceedances", "is_threshold_uncertain", "split"),
        *("n_false_positives", "n_negatives", "fpr", "fpr_lo", "fpr_hi"),
        *("n_recovered_tier_a", "n_tier_a", "recall_tier_a", "recall_tier_a_lo", "recall_tier_a_hi"),
        *("n_recovered_tier_b", "n_tier_b", "recall_tier_b", "recall_tier_b_lo", "recall_tier_b_hi"),
    )
    order = (view.c.fpr_target.desc(), view.c.split.desc())
    return _rows(engine, select(view).where(view.c.model_id == model_id).order_by(*order))


@_cached
def recall_by_stratum(engine: Engine, model_id: int, fpr_target: float) -> Rows:
    """Recall of tier A on the test split, the pooled margins first."""
    view = _view(
        "recall_by_stratum",
        *("model_id", "fpr_target", "split", "sample", "nobs_z_bin", "type"),
        *("k", "n", "recall", "recall_lo", "recall_hi", "is_pooled"),
    )
    bins = func.array_position(["1-2", "3-5", "6-10", "11+", "none"], view.c.nobs_z_bin)
    return _rows(
        engine,
        select(view)
        .where(view.c.model_id == model_id, view.c.fpr_target == fpr_target)
        .where(view.c.split == "test", view.c.sample == "tier_a")
        .order_by(view.c.is_pooled.desc(), bins.nulls_first(), view.c.type.nulls_first()),
    )


@_cached
def fpr_by_contaminant(engine: Engine, model_id: int, fpr_target: float, split: str) -> Rows:
    """False-positive rate of each pool and kind of confuser."""
    view = _view(
        "fpr_by_contaminant",
        *("model_id", "fpr_target", "split", "pool", "category", "k", "n", "fpr", "fpr_lo", "fpr_hi"),
    )
    return _rows(
        engine,
        select(view)
        .where(view.c.model_id == model_id, view.c.fpr_target == fpr_target, view.c.split == split)
        .order_by(func.array_position(["negatives", "N1", "N2"], view.c.pool), view.c.category.nulls_first()),
    )


@_cached
def reliability(engine: Engine, model_id: int, split: str) -> Rows:
    """Reliability of a model's scores, raw and calibrated, bin by bin."""
    view = _view(
        "reliability",
        *("model_id", "split", "method", "binning", "bin", "n", "k", "mean_p", "rate", "rate_lo", "rate_hi"),
    )
    chosen = (view.c.model_id == model_id, view.c.split == split)
    return _rows(engine, select(view).where(*chosen).order_by(view.c.method, view.c.binning, view.c.bin))


@_cached
def recall_by_condition(engine: Engine, model_id: int, split: str, fpr_target: float) -> Rows:
    """Recall and false-positive rates by observing condition and kind of object, in the order of the bins."""
    view = _view(
        "recall_by_condition",
        *("model_id", "fpr_target", "split", "sample", "axis", "bin", "bin_lo", "bin_hi", "k", "n", "n_cells"),
        *("rate", "rate_lo", "rate_hi", "boot_lo", "boot_hi", "p_holm"),
    )
    chosen = (view.c.model_id == model_id, view.c.split == split, view.c.fpr_target == fpr_target)
    order = (view.c.axis, view.c.bin_lo.nulls_first(), view.c.bin_hi, view.c.bin)
    return _rows(engine, select(view).where(*chosen).order_by(*order))


@_cached
def all_models(engine: Engine) -> Rows:
    """Every model, networks and ensembles, whatever its status, the newest first."""
    view = _view(
        "models",
        *("model_id", "model_name", "kind", "architecture", "members", "n_parameters", "n_train", "best_val_auc"),
        *("n_test_accesses", "status", "is_label_shuffled"),
    )
    return _rows(engine, select(view).order_by(view.c.model_id.desc()))


@_cached
def shortcut_audit(engine: Engine) -> Rows:
    """The shortcut audit of every draw, the strongest feature first."""
    view = _view(
        "shortcut_audit",
        *("draw_name", "feature", "kind", "is_expected_physics", "is_fault", "auc_raw", "auc_matched"),
        *("auc_adjusted", "judged_by", "auc_lo", "auc_hi", "verdict"),
        *("n_positives", "n_negatives", "n_matched_positives", "version"),
    )
    order = (view.c.draw_name, view.c.auc_lo.desc().nulls_last(), view.c.feature)
    return _rows(engine, select(view).order_by(*order))


@st.cache_data(ttl=60, show_spinner=False, hash_funcs={Engine: lambda engine: str(engine.url)})
def n_leaks(engine: Engine) -> int:
    """Violations of the split rules; 0 when all is well."""
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(_view("split_leakage"))) or 0


@_cached
def top_candidates(engine: Engine, model_id: int, deepest_rank: int) -> Rows:
    """The best-ranked cutouts of a model; the bound on the rank lets the view stop there."""
    view = _view(
        "top_candidates",
        *("model_id", "rank", "score", "cutout_id", "ra", "dec", "uri", "lens_id", "ls_id", "split", "tier", "pool"),
        *("category", "known_lens_name", "known_lens_separation_arcsec"),
    )
    return _rows(
        engine,
        select(view).where(view.c.model_id == model_id, view.c.rank <= deepest_rank).order_by(view.c.rank),
    )


@_cached
def false_positives(engine: Engine, wanted: ErrorFilter) -> Rows:
    """Negatives at or above a threshold, the highest score first, MAX_ROWS at most."""
    view = _view(
        "false_positives",
        *("model_id", "fpr_target", "split", "rank_in_split", "score", "cutout_id", "ra", "dec", "uri", "ls_id"),
        *("pool", "category", "nobs_z_bin", "type", "mag_r_ab"),
    )
    return _rows(engine, _narrowed(view, wanted).order_by(view.c.score.desc(), view.c.cutout_id))


@_cached
def false_negatives(engine: Engine, wanted: ErrorFilter) -> Rows:
    """Positives below a threshold, the lowest score first, MAX_ROWS at most."""
    view = _view(
        "false_negatives",
        *("model_id", "fpr_target", "split", "rank_in_split", "score", "cutout_id", "ra", "dec", "uri", "lens_id"),
        *("lens_name", "tier", "discovery", "nobs_z_bin", "type"),
    )
    return _rows(engine, _narrowed(view, wanted).order_by(view.c.score, view.c.cutout_id))


def _narrowed(view: TableClause, wanted: ErrorFilter) -> Select[Any]:
    values: Mapping[str, Any] = {
        "model_id": wanted.model_id,
        "fpr_target": wanted.fpr_target,
        **({"split": wanted.split} if wanted.split else {}),
        **dict(wanted.kinds),
    }
    return select(view).where(*(view.c[name] == value for name, value in values.items())).limit(MAX_ROWS)


def _view(name: str, *columns: str) -> TableClause:
    return table(name, *(column(one) for one in columns), schema="results")


def _rows(engine: Engine, statement: Select[Any]) -> Rows:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]
