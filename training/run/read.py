"""Open a run's folder: every file verified."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import ArrowException, parquet
from pyarrow import Table as ArrowTable
from pydantic import ValidationError

from db.provenance import canonical_config
from training.checkpoint import Checkpoint, read_checkpoint
from training.errors import PackError, RunError
from training.fit import EpochResult
from training.packs.read import PackFile, verify_file
from training.run.layout import CHECKPOINT_NAME, EPOCHS_NAME, RUN_NAME, SCORES_NAME, RunDescription

REMEDY = "copy the run's folder again, or remove it and train again"
SEAL_KEY = "seal_sha256"


@dataclass(frozen=True)
class FinishedRun:
    """A training that is whole; `scores` has the columns cutout_id and score, None where none were asked for."""

    folder: Path
    description: RunDescription
    epochs: tuple[EpochResult, ...]
    checkpoint: Checkpoint
    scores: ArrowTable | None

    def file(self, name: str) -> bytes:
        """Bytes of one of its files."""
        return (self.folder / name).read_bytes()


def open_run(folder: Path) -> FinishedRun:
    """Read the folder of a finished run.

    Raises
    ------
    RunError
        When it is none, or is not finished, or a file of it is missing, truncated or altered.
    CheckpointError
        When its checkpoint cannot be read by this code.
    """
    about = read_description(folder)
    if about is None:
        raise RunError(
            f"{folder}: is no run folder ({RUN_NAME} is not there): give a folder that `stronglens train` wrote"
        )
    if about.best_epoch is None:
        raise RunError(f"{folder}: its training has not finished: start the same `stronglens train` again, it goes on")
    lacking = {EPOCHS_NAME, CHECKPOINT_NAME} - about.files.keys()
    if lacking:
        raise RunError(f"{folder / RUN_NAME}: does not list {', '.join(sorted(lacking))}; {REMEDY}")
    try:
        for name, seal in about.files.items():
            verify_file(PackFile(folder / name, seal.sha256, seal.n_bytes), REMEDY)
    except PackError as exc:
        raise RunError(str(exc)) from exc
    checkpoint = read_checkpoint((folder / CHECKPOINT_NAME).read_bytes(), str(folder / CHECKPOINT_NAME))
    described = about.recipe.model_dump(mode="json"), about.manifest.sha256, about.best_epoch
    if (checkpoint.config, checkpoint.manifest_sha256, checkpoint.epoch) != described:
        raise RunError(f"{folder}: its checkpoint is that of another run than {RUN_NAME} describes; {REMEDY}")
    return FinishedRun(folder, about, _epochs(folder), checkpoint, _scores(folder, about))


def read_description(folder: Path) -> RunDescription | None:
    """Read what a folder's run was, finished or not; None where there is no run.

    Raises
    ------
    RunError
        When its description is damaged or altered.
    """
    path = folder / RUN_NAME
    try:
        body: dict[str, Any] = json.loads(path.read_bytes())
        seal = body.pop(SEAL_KEY)
        if canonical_config(body)[0] != seal:
            raise RunError(f"{path}: altered since it was written; {REMEDY}")
        return RunDescription.model_validate(body)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise RunError(f"{path}: cannot be read ({os.strerror(exc.errno or 0)})") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path}: {where + ': ' if where else ''}{first['msg']}; {REMEDY}") from exc
    except (ValueError, KeyError, AttributeError, TypeError) as exc:
        raise RunError(f"{path}: damaged, or no description of a run; {REMEDY}") from exc


def _epochs(folder: Path) -> tuple[EpochResult, ...]:
    try:
        lines = (folder / EPOCHS_NAME).read_text().splitlines()
        return tuple(EpochResult(**json.loads(line)) for line in lines)
    except (ValueError, TypeError) as exc:
        raise RunError(f"{folder / EPOCHS_NAME}: does not hold epochs; {REMEDY}") from exc


def _scores(folder: Path, about: RunDescription) -> ArrowTable | None:
    if SCORES_NAME not in about.files:
        return None
    try:
        return parquet.read_table(folder / SCORES_NAME, columns=["cutout_id", "score"])
    except ArrowException as exc:
        raise RunError(f"{folder / SCORES_NAME}: does not hold scores; {REMEDY}") from exc
