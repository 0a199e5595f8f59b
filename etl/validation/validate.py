"""Stage 8: measure a draw's cutouts, audit them for shortcuts, apply the rules, and keep the verdicts."""

from __future__ import annotations

import pandas as pd
from pydantic import Field
from sqlalchemy import Engine

from db.config import StageConfig
from db.provenance import recorded_run
from etl.cutouts.make import Progress, StoreAddress
from etl.cutouts.targets import DrawRef, find_draw
from etl.validation.gates import judge
from etl.validation.matching import match_classes
from etl.validation.measure import CutoutFile, measure_files
from etl.validation.objects import METRIC_COLUMNS, load_objects, metrics_present, read_audit, write_metrics
from etl.validation.report import ValidationReport, write_report
from etl.validation.shortcuts import AuditSettings, audit_shortcuts


class ValidationConfig(StageConfig):
    """Which cutouts to validate, and the audit's bootstrap."""

    draw: str = "default"
    version: str = "v1"
    n_workers: int = Field(default=2, ge=1, le=256, description="Processes that read cutouts")
    n_bootstrap: int = Field(default=200, ge=20, le=10_000)
    seed: int = 42
    min_matched_positives: int = Field(default=30, ge=2, description="With fewer the raw AUC is judged")


def validate_cutouts(
    engine: Engine, config: ValidationConfig, address: StoreAddress, on_progress: Progress | None = None
) -> ValidationReport:
    """Validate the cutouts of a draw; metrics that are there are kept, verdicts are replaced.

    Raises
    ------
    MissingInputError
        When the draw is not there or has no cutouts of this version.
    """
    with engine.connect() as connection:
        draw = find_draw(connection, config.draw)
        members = load_objects(connection, draw, config.version)
        known = metrics_present(connection, draw, config.version)
    with recorded_run(engine, command="cutouts validate", config=config) as run:
        measured = _measure(members, known, config, (address, on_progress))
        n_new = _store_metrics(engine, measured, known)
        report = _judge(engine, members, measured, (draw, config, n_new))
        with engine.begin() as connection:
            write_report(connection, report, draw.draw_id, run.run_id)
    return report


def _measure(
    members: pd.DataFrame,
    known: set[int],
    config: ValidationConfig,
    reading: tuple[StoreAddress, Progress | None],
) -> pd.DataFrame:
    stored = members[members["uri"].notna()].sort_values("cutout_id")
    files = [
        CutoutFile(int(row.cutout_id), row.uri, row.sha256, int(row.cutout_id) not in known)
        for row in stored.itertuples()
    ]
    if not files:
        return pd.DataFrame({"problem": []}, index=pd.Index([], name="cutout_id"))
    address, on_progress = reading
    return measure_files(address, files, config.n_workers, on_progress)


def _store_metrics(engine: Engine, measured: pd.DataFrame, known: set[int]) -> int:
    """Write the metrics of sound cutouts that had none."""
    is_new = measured["problem"].isna() & ~measured.index.isin(list(known))
    if not is_new.any():
        return 0
    with engine.begin() as connection:
        return write_metrics(connection, measured.loc[is_new, list(METRIC_COLUMNS)])


def _judge(
    engine: Engine,
    members: pd.DataFrame,
    measured: pd.DataFrame,
    what: tuple[DrawRef, ValidationConfig, int],
) -> ValidationReport:
    draw, config, n_new = what
    with engine.connect() as connection:
        audit = read_audit(connection, draw, config.version)
    problem = members["cutout_id"].map(measured["problem"])
    members = members.assign(is_sound=members["cutout_id"].isin(measured.index) & problem.isna())
    border = [name for name in measured.columns if name.startswith("border_")]
    sound = members[members["is_sound"]].reset_index(drop=True)
    sound = sound.join(measured[border], on="cutout_id").join(audit, on="cutout_id")
    pairs = match_classes(sound)
    settings = AuditSettings(config.n_bootstrap, config.seed, config.min_matched_positives)
    features = audit_shortcuts(sound, pairs, settings) if len(sound) else ()
    return ValidationReport(
        draw=draw.name,
        version=config.version,
        n_measured_now=n_new,
        features=features,
        gates=judge(members, sound, pairs, features),
        problems=tuple(measured["problem"].dropna()),
        n_matched_positives=len(pairs.positive),
        is_small=len(pairs.positive) < config.min_matched_positives,
    )
