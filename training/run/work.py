"""Train in a folder: begin, go on, or find that it is done."""

from __future__ import annotations

import datetime as dt
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from pyarrow import parquet
from torch import nn

from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.errors import CollapsedError, RunError
from training.fit import EpochResult, Fitted, Part, fit
from training.labels import Taught, taught
from training.manifest import Manifest
from training.model import choose_device, n_parameters, seeded_network
from training.progress import Progress, silent
from training.run import layout
from training.run.folder import RunFolder, claimed, write_file
from training.run.layout import Code, Environment, ManifestIdentity, RunDescription, SnapshotIdentity, work_sha256
from training.run.read import FinishedRun, open_run, read_description
from training.scoring.scorer import scorer_of
from training.source import ImageSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What is to be trained; `snapshot` where it comes from one, and then every cutout of it is scored at the end."""

    recipe: TrainConfig
    manifest: Manifest
    source: Callable[[], ImageSource]
    snapshot: SnapshotIdentity | None = None


def train_in(
    folder: Path, job: Job, progress: Progress = silent, on_epoch: Callable[[EpochResult], None] = lambda _: None
) -> tuple[FinishedRun, bool]:
    """Train in a folder, unless it holds this very training; an interrupted one goes on.

    A finished training that the folder holds and no database has taken in is never thrown away.

    Returns
    -------
    tuple
        The finished run, and whether it was there.

    Raises
    ------
    RunError
        When the folder holds something else, is damaged, or cannot be written.
    BusyError
        When another process trains in it.
    CheckpointError
        When an interrupted training cannot be read.
    CollapsedError
        When training collapses; it then starts anew the next time.
    """
    parts = taught(job.manifest, job.recipe)
    identity = ManifestIdentity.of(job.manifest, job.recipe, parts)
    with claimed(folder):
        there = _finished(folder, work_sha256(job.recipe, identity))
        if there is not None:
            return there, True
        device = choose_device(job.recipe.device)
        network = seeded_network(
            job.recipe.architecture, job.recipe.seed, job.recipe.initial_weights, identity.sha256
        ).to(device)
        place = RunFolder(folder, _describe(job, identity, parts, network, device))
        source = job.source()
        train, choice = (_part(part, source, progress, device) for part in parts)
        place.begin()

        def record(row: EpochResult) -> None:
            place.add_epoch(row)
            on_epoch(row)

        try:
            fitted = fit(network, (train, choice), job.recipe, record, progress, place)
        except CollapsedError:
            (folder / layout.RESUME_NAME).unlink(missing_ok=True)
            raise
        del train, choice  # a GPU that held them takes the whole manifest next
        checkpoint = _checkpoint(job.recipe, identity, fitted)
        write_file(folder / layout.CHECKPOINT_NAME, checkpoint.to_bytes())
        if job.snapshot is not None:
            scorer = scorer_of(checkpoint, job.recipe.device)
            scores = scorer.score_images(source.images(job.manifest, progress, device))
            write_file(folder / layout.SCORES_NAME, _score_file(job.manifest, scores))
        finished = {"best_epoch": fitted.best.epoch, "finished_at": dt.datetime.now(dt.UTC)}
        place.finish(place.about.model_copy(update=finished))
        return open_run(folder), False


def mark_imported(folder: Path) -> None:
    """Note that a database has taken a run in: its folder may be trained in again."""
    write_file(folder / layout.IMPORTED_NAME, b'{"is_imported": true}\n')


def _finished(folder: Path, work: str) -> FinishedRun | None:
    """The finished run of a folder that is not yet in a database; None where there is something to train."""
    about = read_description(folder)
    if about is None:
        if any(folder.iterdir()):
            raise RunError(f"{folder}: is there already and is no run folder: choose another, or remove it first")
        return None
    if about.best_epoch is None or (folder / layout.IMPORTED_NAME).exists():
        return None
    if about.work_sha256() != work:
        raise RunError(
            f"{folder}: holds the finished training of another recipe or manifest: take it in with `stronglens "
            f"training import {folder}`, choose another name or folder, or remove it"
        )
    (folder / layout.RESUME_NAME).unlink(missing_ok=True)
    return open_run(folder)


def _describe(
    job: Job, identity: ManifestIdentity, parts: tuple[Taught, Taught], network: nn.Module, device: torch.device
) -> RunDescription:
    return RunDescription(
        recipe=job.recipe,
        manifest=identity,
        snapshot=job.snapshot,
        code=Code.here(),
        environment=Environment.here(device, job.recipe),
        n_train=len(parts[0].manifest),
        n_val=len(parts[1].manifest),
        n_parameters=n_parameters(network),
        started_at=dt.datetime.now(dt.UTC),
    )


def _part(part: Taught, source: ImageSource, progress: Progress, device: torch.device) -> Part:
    return Part(
        images=source.images(part.manifest, progress, device),
        labels=torch.from_numpy(part.manifest.label).float(),
        weights=torch.from_numpy(part.manifest.weight),
        targets=torch.from_numpy(part.target),
        cutout_id=torch.from_numpy(part.manifest.cutout_id),
    )


def _checkpoint(recipe: TrainConfig, identity: ManifestIdentity, fitted: Fitted) -> Checkpoint:
    return Checkpoint(
        name=recipe.name,
        architecture=recipe.architecture,
        bands=recipe.preprocessing.bands,
        preprocessing=recipe.preprocessing,
        config=recipe.model_dump(mode="json"),
        manifest_sha256=identity.sha256,
        epoch=fitted.best.epoch,
        state=fitted.state,
    )


def _score_file(manifest: Manifest, scores: npt.NDArray[np.float64]) -> bytes:
    table = pa.table({"cutout_id": manifest.cutout_id, "split": manifest.split.tolist(), "score": scores})
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()
