"""The request for a cluster, as EMR's RunJobFlow takes it: pure data, the same for the same launch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from db.config import StageConfig
from etl.emr.archive import Blob
from etl.emr.config import EmrConfig, Preset
from etl.emr.database import CERTIFICATE
from etl.emr.upload import folder_of

NAME_PREFIX = "stronglens-"


@dataclass(frozen=True)
class Launch:
    """Everything that decides a request; `environment` reaches the driver and the workers."""

    config: EmrConfig
    preset_name: str
    job: str
    job_config: StageConfig
    places: tuple[str, ...]
    environment: dict[str, str]
    code: Blob
    files: tuple[Blob, ...]
    git_commit: str | None

    @property
    def preset(self) -> Preset:
        """The size of the cluster."""
        return self.config.preset(self.preset_name)

    @property
    def folder(self) -> str:
        """Address of the uploaded files."""
        return folder_of(self.config, self.code)


def job_flow(launch: Launch) -> dict[str, Any]:
    """Return the whole request."""
    config, preset = launch.config, launch.preset
    name = f"{NAME_PREFIX}{launch.job}-{launch.preset_name}"
    tags = {
        "Name": name,
        "application": "stronglens",
        "job": launch.job,
        "preset": launch.preset_name,
        "git-commit": launch.git_commit or "unknown",
        "code-sha256": launch.code.sha256,
    }
    return {
        "Name": name,
        "LogUri": f"{config.bucket}/emr/logs/",
        "ReleaseLabel": config.release,
        "Applications": [{"Name": "Hadoop"}, {"Name": "Spark"}],
        "ServiceRole": config.service_role,
        "JobFlowRole": config.instance_profile,
        "VisibleToAllUsers": True,
        "Instances": _instances(config, preset),
        "Configurations": _configurations(config),
        "BootstrapActions": [_bootstrap(launch)],
        "Steps": [_step(launch)],
        "StepConcurrencyLevel": 1,
        "AutoTerminationPolicy": {"IdleTimeout": config.idle_timeout_s},
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }


def step_arguments(launch: Launch) -> list[str]:
    """Return the command of the cluster's only step."""
    config, preset = launch.config, launch.preset
    python = f"{config.prefix}/venv/bin/python"
    settings = {
        "spark.pyspark.python": python,
        "spark.pyspark.driver.python": python,
        "spark.dynamicAllocation.enabled": "false",
        "spark.executor.instances": str(preset.workers),
        "spark.executor.cores": str(config.machines[preset.machine].vcpus),
        "spark.executor.memory": f"{preset.executor_memory_gib}g",
        "spark.executor.memoryOverhead": f"{preset.executor_overhead_gib}g",
    }
    environment = launch.environment | {
        "AWS_DEFAULT_REGION": config.region,
        "NUMBA_CACHE_DIR": f"{config.prefix}/numba",
    }
    return [
        "spark-submit",
        *("--master", "yarn", "--deploy-mode", "client"),
        *(word for key, value in settings.items() for word in ("--conf", f"{key}={value}")),
        f"{launch.folder}/job.py",
        *("--archive", f"{launch.folder}/{launch.code.name}", "--sha256", launch.code.sha256),
        *(word for key, value in environment.items() for word in ("--set", f"{key}={value}")),
        *("--config", json.dumps(launch.job_config.model_dump(mode="json"), sort_keys=True)),
        launch.job,
        *launch.places,
    ]


def _step(launch: Launch) -> dict[str, Any]:
    return {
        "Name": launch.job,
        "ActionOnFailure": "TERMINATE_CLUSTER",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": step_arguments(launch)},
    }


def _instances(config: EmrConfig, preset: Preset) -> dict[str, Any]:
    groups = (("primary", "MASTER", preset.primary_machine, 1), ("workers", "CORE", preset.machine, preset.workers))
    volume = {"VolumeSpecification": {"VolumeType": "gp3", "SizeInGB": config.disk_gib}, "VolumesPerInstance": 1}
    instances: dict[str, Any] = {
        "InstanceGroups": [
            {
                "Name": name,
                "InstanceRole": role,
                "Market": "ON_DEMAND",
                "InstanceType": machine,
                "InstanceCount": count,
                "EbsConfiguration": {"EbsBlockDeviceConfigs": [volume]},
            }
            for name, role, machine, count in groups
        ],
        "Ec2SubnetId": config.subnet_id,
        # The cluster ends with its step; the idle timeout ends one that never starts it.
        "KeepJobFlowAliveWhenNoSteps": False,
        "TerminationProtected": False,
    }
    if config.security_group_id:
        groups_beside = [config.security_group_id]
        instances |= {"AdditionalMasterSecurityGroups": groups_beside, "AdditionalSlaveSecurityGroups": groups_beside}
    return instances


def _configurations(config: EmrConfig) -> list[dict[str, Any]]:
    exports = {"PYSPARK_PYTHON": f"{config.prefix}/venv/bin/python", "NUMBA_CACHE_DIR": f"{config.prefix}/numba"}
    export = {"Classification": "export", "Properties": exports}
    return [{"Classification": "spark-env", "Properties": {}, "Configurations": [export]}]


def _bootstrap(launch: Launch) -> dict[str, Any]:
    requirements = next(blob for blob in launch.files if blob.name == "requirements-etl.lock")
    arguments = [launch.config.prefix, f"{launch.folder}/{requirements.name}", requirements.sha256]
    certificate = launch.config.root_certificate
    if certificate is not None and certificate != "system":
        arguments += [certificate, CERTIFICATE]
    script = {"Path": f"{launch.folder}/bootstrap.sh", "Args": arguments}
    return {"Name": "python environment", "ScriptBootstrapAction": script}
