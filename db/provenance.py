"""Every execution of a stage is a row: what ran, from which code, and how it ended."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Engine, func, insert, update
from sqlalchemy.dialects.postgresql import insert as insert_or
from sqlalchemy.exc import DBAPIError

from db.models.provenance import Config
from db.models.provenance import Run as RunRow
from db.patience import patiently

CHECKOUT = Path(__file__).resolve().parent.parent
_PATIENCE_S = 60
_PATIENCE_FAILED_S = 2
_log = logging.getLogger(__name__)
SOURCES = ("*.py", "*.sql", "*.yaml")
PACKAGES = ("db", "migrations", "etl", "training", "analysis", "dashboard")


@dataclass(frozen=True)
class RecordedRun:
    """Keys of the run that is being recorded."""

    run_id: int
    config_sha256: str


def canonical_config(config: BaseModel | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the SHA-256 of a configuration as canonical JSON, and its body."""
    body = config.model_dump(mode="json") if isinstance(config, BaseModel) else dict(config)
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest(), json.loads(text)


@contextmanager
def recorded_run(engine: Engine, *, command: str, config: BaseModel | Mapping[str, Any]) -> Iterator[RecordedRun]:
    """Record a run of `command`: a row at the start, its end and error when it stops.

    The rows are written in transactions of their own, so a failed stage leaves its record. The error is raised again.
    """
    config_sha256, body = canonical_config(config)
    with engine.begin() as connection:
        connection.execute(insert_or(Config).values(config_sha256=config_sha256, body=body).on_conflict_do_nothing())
        run_id = connection.scalar(
            insert(RunRow)
            .values(
                command=command,
                config_sha256=config_sha256,
                version=version("stronglens"),
                git_commit=git_commit(),
                code_sha256=code_sha256(),
                host=platform.node(),
                status="running",
            )
            .returning(RunRow.run_id)
        )
    assert run_id is not None  # noqa: S101 - RETURNING of one inserted row
    try:
        yield RecordedRun(run_id, config_sha256)
    except BaseException as exc:
        message = " ".join(str(exc).split()) or type(exc).__name__
        try:
            patiently(_PATIENCE_FAILED_S)(_finish, engine, run_id, status="failed", error=message[:2000])
        except DBAPIError:
            _log.warning("the database is away: run %d stays marked as running", run_id)
        raise
    patiently(_PATIENCE_S)(_finish, engine, run_id, status="succeeded", error=None)


def _finish(engine: Engine, run_id: int, *, status: str, error: str | None) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(RunRow)
            .where(RunRow.run_id == run_id)
            .values(status=status, error=error, finished_at=func.clock_timestamp())
        )


@cache
def code_sha256() -> str:
    """SHA-256 over the names and bytes of the Python, SQL and YAML sources of the checkout, in sorted order."""
    digest = hashlib.sha256()
    sources = [CHECKOUT / "stronglens.py"]
    for package in PACKAGES:
        sources += [path for pattern in SOURCES for path in (CHECKOUT / package).rglob(pattern)]
    for path in sorted(sources):
        digest.update(str(path.relative_to(CHECKOUT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def git_commit() -> str | None:
    """Commit of the checkout, with ``+dirty`` when tracked files differ; None outside a checkout or without git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + ("+dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(CHECKOUT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
