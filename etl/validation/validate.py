"""Stage 8: measure a draw's cutouts, audit them for shortcuts, apply the rules, and keep the verdict.

Only cutouts that were never measured, or are quarantined, are read; what was measured is written as it comes, so that a
validation that was killed goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
from pydantic import Field
from sqlalchemy import Engine

from db.config import StageConfig
from db.lock import only_one
from db.models.imaging import Validation
from db.provenance import recorded_run
from etl.cutouts.make import StoreAddress
from etl.cutouts.targets import DrawRef, find_draw
from etl.distribute import Distribute, in_processes
from etl.errors import StorageError
from etl.storage import open_store
from etl.validation.gates import judge
from etl.validation.kept import Keeper, read_metrics, read_quarantine
from etl.validation.matching import match_classes
from etl.validation.measure import Batch, measure_batch
from etl.validation.objects import AUDIT_FEATURES, BORDER_FEATURES, load_objects
from etl.validation.report import ValidationReport, write_report
from etl.validation.shortcuts import AuditSettings, audit_shortcuts
from etl.validation.unread import unread_batches
from etl.validation.verdict import cutouts_digest, write_verdict

Progress = Callable[[int, int], None]

_N_LOOKED_FOR = 8
"""Files looked for before any is read: where none is there, the store is another one."""


class ValidationConfig(StageConfig):
    """Which cutouts to validate, and the audit's bootstrap."""

    draw: str = "default"
    version: str = "v1"
    n_workers: int = Field(default=2, ge=1, le=4096, description="Processes that read cutouts")
    recheck: bool = Field(default=False, description="Read every file again, also those measured before")
    n_bootstrap: int = Field(default=200, ge=20, le=10_000)
    seed: int = 42
    min_matched_positives: int = Field(default=30, ge=2, description="With fewer the raw AUC is judged")


def validate_cutouts(
    engine: Engine,
    config: ValidationConfig,
    address: StoreAddress,
    on_progress: Progress | None = None,
    distribute: Distribute | None = None,
) -> ValidationReport:
    """Validate the cutouts of a draw; metrics that are there are kept, the verdict is replaced.

    Files are read where `distribute` says, in processes of this machine by default; `on_progress` gets files read and
    to read.

    Raises
    ------
    MissingInputError
        When the draw is not there or has no cutouts of this version.
    StorageError
        When the store refuses, or holds none of the draw's files.
    BusyError
        When another validation is at work.
    """
    with engine.connect() as connection:
        draw = find_draw(connection, config.draw)
        members = load_objects(connection, draw, config.version)
    with only_one(engine, "validation"), recorded_run(engine, command="cutouts validate", config=config) as run:
        with engine.connect() as connection:
            batches = unread_batches(connection, draw, config.version, recheck=config.recheck)
        _refuse_other_store(address, draw, batches)
        keeper = Keeper(engine, run.run_id)
        spread = distribute or in_processes(config.n_workers)
        n_done, n_all = 0, sum(len(batch.promises) for batch in batches)
        with spread(partial(measure_batch, address), batches) as results:
            for measured in results:
                keeper.add(measured)
                n_done += len(measured)
                if on_progress is not None:
                    on_progress(n_done, n_all)
        keeper.flush()
        return _judge(engine, members, (draw, config, keeper.n_sound), run.run_id)


def _refuse_other_store(address: StoreAddress, draw: DrawRef, batches: Sequence[Batch]) -> None:
    """A store in the wrong place is one mistake, not one for each cutout, and no reason to quarantine them all."""
    uris = [promise.uri for batch in batches for promise in batch.promises]
    looked_for = uris[:: max(1, len(uris) // _N_LOOKED_FOR)]
    store = open_store(address.uri, address.endpoint_url)
    if len(looked_for) < _N_LOOKED_FOR or any(store.exists(uri) for uri in looked_for):
        return
    raise StorageError(
        f"{address.uri}: holds no file of draw '{draw.name}' ({len(looked_for)} looked for, such as {uris[0]}): "
        "correct STRONGLENS_STORE, or fetch them with `stronglens store sync`"
    )


def _judge(
    engine: Engine, members: pd.DataFrame, what: tuple[DrawRef, ValidationConfig, int], run_id: int
) -> ValidationReport:
    draw, config, n_new = what
    with engine.connect() as connection:
        metrics = read_metrics(connection, draw, config.version, (*AUDIT_FEATURES, *BORDER_FEATURES))
        quarantine = read_quarantine(connection, draw, config.version)
    members = members.assign(is_sound=members["uri"].notna() & members["cutout_id"].isin(metrics.index))
    quarantine = quarantine[quarantine["cutout_id"].isin(members["cutout_id"])]
    sound = members[members["is_sound"]].reset_index(drop=True).join(metrics, on="cutout_id")
    pairs = match_classes(sound)
    settings = AuditSettings(config.n_bootstrap, config.seed, config.min_matched_positives)
    features = audit_shortcuts(sound, pairs, settings) if len(sound) else ()
    report = ValidationReport(
        draw=draw.name,
        version=config.version,
        n_measured_now=n_new,
        features=features,
        gates=judge(members, sound, pairs, features),
        problems=tuple(quarantine["detail"]),
        n_matched_positives=len(pairs.positive),
        is_small=len(pairs.positive) < config.min_matched_positives,
        quarantined=tuple((str(reason), int(n)) for reason, n in quarantine["reason"].value_counts().items()),
    )
    judged = sound.sort_values("cutout_id")
    verdict = Validation(
        draw_id=draw.draw_id,
        version=config.version,
        is_go=report.is_go,
        n_cutouts=len(judged),
        cutouts_sha256=cutouts_digest(zip(judged["cutout_id"].tolist(), judged["sha256"].tolist(), strict=True)),
        n_quarantined=len(quarantine),
        run_id=run_id,
    )
    with engine.begin() as connection:
        write_report(connection, report, draw.draw_id, run_id)
        write_verdict(connection, verdict)
    return report
