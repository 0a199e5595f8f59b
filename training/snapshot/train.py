"""Train on a snapshot, without a database: what comes out is a run folder."""

from __future__ import annotations

from pathlib import Path

from db.models import Split
from training.config import TrainConfig
from training.errors import GateError
from training.progress import Progress, silent
from training.run.layout import SnapshotIdentity
from training.run.read import FinishedRun
from training.run.work import Job, train_in
from training.snapshot.read import Snapshot
from training.source import PackSource


def train_on_snapshot(
    folder: Path, recipe: TrainConfig, out: Path, progress: Progress = silent
) -> tuple[FinishedRun, bool]:
    """Train a recipe on a snapshot; draw, split scheme and cutout version are the snapshot's, whatever the recipe says.

    `out` then holds the run, with a score of every cutout of the snapshot; `stronglens training import` takes it into
    the database. Interrupted, the same training goes on there; done, it is left alone.

    Returns
    -------
    tuple
        The run, and whether it was there.

    Raises
    ------
    SnapshotError, PackError, ManifestError, PreprocessingError
        When the snapshot cannot be trained on.
    RunError, CheckpointError
        When `out` holds something else, or an interrupted training that cannot be read.
    GateError
        When its verdict was not GO and the recipe accepts no other.
    CollapsedError
        When training collapses.
    """
    snapshot = Snapshot.open(folder, progress)
    about, manifest = snapshot.description, snapshot.manifest
    if about.gate != "GO" and recipe.accept_gate is None:
        raise GateError(
            f"{folder}: the verdict on its cutouts was {about.gate!r} when it was exported: validate and export "
            'again, or say why it may be trained on: --accept-gate "REASON"'
        )
    of = {"draw": about.draw, "scheme": about.scheme, "cutout_version": about.cutout_version}
    taught = recipe.model_copy(update=of)
    manifest.require_both_classes(Split.TRAIN, Split.VAL)
    manifest.require_layout(taught.preprocessing)
    source = PackSource(snapshot.pack, taught.preprocessing)
    source.require_fit()
    identity = SnapshotIdentity(sha256=snapshot.sha256, gate=about.gate)
    return train_in(out, Job(taught, manifest, lambda: source, identity), progress)
