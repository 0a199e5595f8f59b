"""A run's folder while it is trained in: what is written when, and what an interrupted training left."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import torch

from db.errors import BusyError
from db.provenance import canonical_config
from training.checkpoint import read_tensors
from training.errors import CheckpointError, RunError
from training.fit import EpochResult, Fitted, State
from training.run import layout
from training.run.layout import RunDescription
from training.run.read import SEAL_KEY, read_description
from training.snapshot.layout import FileSeal

_log = logging.getLogger(__name__)


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Make a folder unless it is there, and keep other processes out of it.

    Raises
    ------
    RunError
        When it cannot be made.
    BusyError
        When another process trains in it.
    """
    with _one_line(path):
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BusyError(f"another process trains in {path}: wait until it ends") from exc
        try:
            yield
        finally:
            with suppress(OSError):  # nothing came of it
                path.rmdir()
    finally:
        os.close(handle)


class RunFolder:
    """The folder of a training under way; remembers it from epoch to epoch."""

    def __init__(self, path: Path, about: RunDescription) -> None:
        self.path, self.about = path, about
        self.recalled: State | None = None
        # A training goes on only where its generators mean the same.
        self._work = f"{about.work_sha256()} {about.environment.device}"

    def begin(self) -> None:
        """Describe the run, before its first step.

        Raises
        ------
        RunError
            When the folder cannot be written.
        CheckpointError
            When an interrupted training cannot be read.
        """
        self.recalled = self._read_resume()
        before = read_description(self.path)
        if self.recalled is not None and before is not None:
            resumed_after = (*before.resumed_after, len(self.recalled.epochs))
            update = {"resumed_after": resumed_after, "started_at": before.started_at}
            self.about = self.about.model_copy(update=update)
        for name in (layout.EPOCHS_NAME, layout.CHECKPOINT_NAME, layout.SCORES_NAME, layout.IMPORTED_NAME):
            (self.path / name).unlink(missing_ok=True)
        write_description(self.path, self.about)

    def recall(self) -> State | None:
        """Return the training that was interrupted; None when it has not begun."""
        return self.recalled

    def keep(self, state: State) -> None:
        """Write a training down, in place of the epoch before."""
        body = {
            "work": self._work,
            "epochs": [asdict(row) for row in state.epochs],
            "best_epoch": state.best.best.epoch,
            "best_state": state.best.state,
            "network": state.network,
            "optimiser": state.optimiser,
            "chance": state.chance,
        }
        stream = io.BytesIO()
        torch.save(body, stream)
        # torch's own format does not notice an altered byte.
        sha256 = hashlib.sha256(stream.getbuffer()).hexdigest().encode()
        write_file(self.path / layout.RESUME_NAME, sha256, stream.getbuffer())

    def add_epoch(self, row: EpochResult) -> None:
        """Write an epoch down."""
        with _one_line(self.path), (self.path / layout.EPOCHS_NAME).open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def finish(self, about: RunDescription) -> None:
        """Seal the folder; `about` lists no files yet."""
        names = (layout.CHECKPOINT_NAME, layout.EPOCHS_NAME, layout.SCORES_NAME)
        with _one_line(self.path):
            paths = [self.path / name for name in names]
            seals = {path.name: _seal(path) for path in paths if path.exists()}
            self.about = about.model_copy(update={"files": seals})
            write_description(self.path, self.about)
            (self.path / layout.RESUME_NAME).unlink(missing_ok=True)

    def _read_resume(self) -> State | None:
        path = self.path / layout.RESUME_NAME
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            if hashlib.sha256(data[64:]).hexdigest().encode() != data[:64]:
                raise CheckpointError(f"{path}: altered since it was written")  # noqa: TRY301 - as any other damage
            body = read_tensors(data[64:], str(path))
            if body["work"] != self._work:
                _log.warning("%s: of another recipe, manifest or device: the training starts anew", path)
                return None
            epochs = tuple(EpochResult(**row) for row in body["epochs"])
            best = next(row for row in epochs if row.epoch == body["best_epoch"])
            return State(epochs, Fitted(best, body["best_state"]), body["network"], body["optimiser"], body["chance"])
        except (CheckpointError, KeyError, TypeError, ValueError, StopIteration) as exc:
            raise CheckpointError(
                f"{path}: an interrupted training that cannot be read ({len(data)} bytes, damaged): remove the file to "
                "start anew"
            ) from exc


def write_description(path: Path, about: RunDescription) -> None:
    """Write the description of a run over the one that is there, sealed by a SHA-256 of its own.

    Raises
    ------
    RunError
        When the folder cannot be written.
    """
    sha256, body = canonical_config(about)
    with _one_line(path), _replacing(path / layout.RUN_NAME) as part:
        part.write_text(json.dumps({**body, SEAL_KEY: sha256}, indent=1) + "\n")


def write_file(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    RunError
        When the folder cannot be written.
    """
    with _one_line(path.parent), _replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(parts)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    part = path.with_name(f".part-{path.name}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise RunError(
            f"{path}: cannot be written ({os.strerror(exc.errno or 0)}): free it, or choose another"
        ) from exc


def _seal(path: Path) -> FileSeal:
    with path.open("rb") as file:
        return FileSeal(n_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())
