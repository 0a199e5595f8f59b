"""Stage `emr launch`: check, upload the code, ask for the cluster, remember which code it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert

from db.models.provenance import Artifact
from db.provenance import git_commit, recorded_run
from db.settings import settings
from etl.emr.archive import Blob, code_archive, launch_files
from etl.emr.aws import client, one_line
from etl.emr.config import EmrConfig
from etl.emr.database import database_environment
from etl.emr.errors import EmrError
from etl.emr.jobs import job_config, job_named, split_arguments
from etl.emr.request import Launch, job_flow
from etl.emr.upload import upload
from etl.storage.store import S3_SCHEME


def prepare(
    config: EmrConfig, preset_name: str, job_name: str, words: Sequence[str], job_file: Path | None = None
) -> Launch:
    """Put together what a launch needs, without asking anybody.

    Parameters
    ----------
    words
        What was typed after the job's name: places and options.
    job_file
        YAML file with the job's configuration.

    Raises
    ------
    EmrError
        When job, preset, places, database or store do not go together.
    ConfigError
        When the job's configuration is refused.
    """
    job, preset = job_named(job_name), config.preset(preset_name)
    places, options = split_arguments(job, words)
    _refuse_places(preset_name, preset.named_files, places)
    stage = job_config(job, job_file, **({job.slots: config.n_slots(preset)} | options))
    return Launch(
        config=config,
        preset_name=preset_name,
        job=job_name,
        job_config=stage,
        places=tuple(places),
        environment=database_environment(config) | (_store() if job.has_store else {}),
        code=code_archive(),
        files=tuple(launch_files()),
        git_commit=git_commit(),
    )


def launch_cluster(engine: Engine, launch: Launch) -> str:
    """Upload the code and ask for the cluster; return its id.

    The run is recorded, and its configuration names the archive of code. The archive is an artifact `emr_code` once:
    of the first launch that sent it. Neither holds a password.

    Raises
    ------
    EmrError
        When the store or EMR refuses; no cluster runs then.
    """
    request, uri = job_flow(launch), f"{launch.folder}/{launch.code.name}"
    config = {"request": request, "archive": {"uri": uri, "sha256": launch.code.sha256}}
    with recorded_run(engine, command="emr launch", config=config) as run:
        upload(launch.config, launch.folder, (launch.code, *launch.files))
        _record(engine, run.run_id, uri, launch.code)
        with one_line("cluster", "check the roles, and the release in this region"):
            cluster_id: str = client("emr", launch.config.region).run_job_flow(**request)["JobFlowId"]
    return cluster_id


def _record(engine: Engine, run_id: int, uri: str, code: Blob) -> None:
    row = {"run_id": run_id, "kind": "emr_code", "uri": uri, "sha256": code.sha256, "n_bytes": len(code.data)}
    with engine.begin() as connection:
        # The same code as a launch before is the same artifact, which that launch wrote.
        connection.execute(insert(Artifact).values(row).on_conflict_do_nothing())


def _store() -> dict[str, str]:
    """Tell the nodes where the store is."""
    store = settings().store
    if not store.startswith(S3_SCHEME):
        raise EmrError(
            f"the nodes of a cluster do not reach the store {store}: set STRONGLENS_STORE to s3://bucket/prefix"
        )
    return {"STRONGLENS_STORE": store}


def _refuse_places(preset_name: str, n_named: int | None, places: Sequence[str]) -> None:
    if not places:
        raise EmrError("no place is given: name s3:// files, folders or globs after the job")
    for place in places:
        if not place.startswith("s3://"):
            raise EmrError(f"{place}: a cluster reads s3:// only; copy it there")
    is_named = all(place.endswith((".fits", ".fits.gz")) and not set(place) & set("*?[") for place in places)
    if n_named is not None and (len(places) != n_named or not is_named):
        raise EmrError(
            f"preset {preset_name} takes exactly {n_named} files, each by its name, not {' '.join(places)}: it "
            "runs the whole path on little data"
        )
