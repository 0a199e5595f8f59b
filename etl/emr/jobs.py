"""The jobs that a cluster can run. To add one, add its line: launcher and entry point read this table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from db.config import StageConfig, load_config
from etl.emr.errors import EmrError


@dataclass(frozen=True)
class Job:
    """What a job is made of; code is named ``module:name`` and imported when it is needed.

    Attributes
    ----------
    summary
        What it does, for help.
    config
        Model of its configuration.
    run
        Function ``(config, places, session) -> exit status`` that the cluster calls.
    options
        Options of the command line, without dashes, and the configuration's keys that they set.
    slots
        Key that is told how many tasks the cluster runs at once.
    has_store
        Whether it works on the store, which all nodes must reach.
    """

    summary: str
    config: str
    run: str
    options: Mapping[str, str]
    slots: str
    has_store: bool = False


JOBS = {
    "sweeps": Job(
        summary="load sweep files into the pool",
        config="etl.sweeps.config:SweepLoadConfig",
        run="etl.emr.sweeps:run",
        options={
            "mag-z-max": "mag_z_max",
            "quarantine-rows": "max_quarantine_rows",
            "max-writers": "max_writers",
        },
        slots="n_workers",
    ),
    "cutouts": Job(
        summary="cut a draw out of the brick coadds",
        config="etl.cutouts.config:CutoutConfig",
        run="etl.emr.cutouts:run",
        options={"draw": "draw", "version": "version"},
        slots="n_workers",
        has_store=True,
    ),
    "validate": Job(
        summary="measure and audit the cutouts of a draw",
        config="etl.validation.validate:ValidationConfig",
        run="etl.emr.validate:run",
        options={"draw": "draw", "version": "version", "recheck": "recheck"},
        slots="n_workers",
    ),
}


def job_named(name: str) -> Job:
    """Return a job.

    Raises
    ------
    EmrError
        When there is none of that name.
    """
    if name not in JOBS:
        raise EmrError(f"no job '{name}'; there are {', '.join(JOBS)}")
    return JOBS[name]


def attribute(path: str) -> Any:
    """Import what ``module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def job_config(job: Job, path: Path | None, **overrides: object) -> StageConfig:
    """Read a job's configuration and lay the overrides over it.

    Raises
    ------
    ConfigError
        When a key or value is refused.
    """
    return load_config(cast("type[StageConfig]", attribute(job.config)), path, **overrides)


def split_arguments(job: Job, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split what was typed after a job's name into its places and the configuration's keys that its options set.

    Raises
    ------
    EmrError
        When the job has no such option, or an option has no value.
    """
    places: list[str] = []
    settings: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if not word.startswith("--"):
            places.append(word)
            continue
        option, has_value, value = word[2:].partition("=")
        if option not in job.options:
            raise EmrError(f"--{option}: no option of this job; it has {', '.join(f'--{o}' for o in job.options)}")
        if not has_value and (value := next(left, "")) == "":
            raise EmrError(f"--{option}: needs a value")
        settings[job.options[option]] = value
    return places, settings
