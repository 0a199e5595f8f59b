"""How large a cluster is, where it stands, and which database it writes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator, model_validator

from db.config import StageConfig, load_config
from etl.emr.errors import EmrError

PRESETS = Path(__file__).parent / "presets.yaml"
_S3_PLACE = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$"


class Machine(StageConfig):
    """A type of EC2 machine, and the largest heap that an executor may have on it."""

    vcpus: int = Field(ge=1)
    memory_gib: int = Field(ge=1)
    max_executor_memory_gib: int = Field(ge=1)


class Preset(StageConfig):
    """The size of a cluster: one executor on each worker, and a primary node beside them."""

    workers: int = Field(ge=1, le=100)
    machine: str
    primary_machine: str = "m5.xlarge"
    executor_memory_gib: int = Field(ge=1)
    executor_overhead_gib: int = Field(ge=1, description="Memory outside the heap, where Python works")
    named_files: int | None = Field(default=None, ge=1, description="Takes exactly so many files, each by its name")


class Sizes(StageConfig):
    """Machines, and the presets that are made of them; those of `presets.yaml` are always there."""

    machines: dict[str, Machine] = Field(default_factory=dict)
    presets: dict[str, Preset] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _with_shipped(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        shipped: dict[str, dict[str, Any]] = yaml.safe_load(PRESETS.read_text(encoding="utf-8"))
        return given | {key: sizes | (given.get(key) or {}) for key, sizes in shipped.items()}

    @model_validator(mode="after")
    def _presets_fit_their_machines(self) -> Self:
        for name, preset in self.presets.items():
            for machine in (preset.machine, preset.primary_machine):
                if machine not in self.machines:
                    raise ValueError(f"preset {name}: unknown machine {machine} (known: {', '.join(self.machines)})")
            machine, limit = preset.machine, self.machines[preset.machine]
            if preset.executor_memory_gib > limit.max_executor_memory_gib:
                raise ValueError(
                    f"preset {name}: executor memory {preset.executor_memory_gib}g is over the "
                    f"{limit.max_executor_memory_gib}g that {machine} allows"
                )
            if preset.executor_memory_gib + preset.executor_overhead_gib > 0.75 * limit.memory_gib:
                raise ValueError(
                    f"preset {name}: {preset.executor_memory_gib}g heap and {preset.executor_overhead_gib}g beside it "
                    f"are over three quarters of the {limit.memory_gib}g of {machine}, which YARN may give away"
                )
        return self

    def preset(self, name: str) -> Preset:
        """Return a preset.

        Raises
        ------
        EmrError
            When there is none of that name.
        """
        if name not in self.presets:
            raise EmrError(f"no preset '{name}'; there are {', '.join(self.presets)}")
        return self.presets[name]

    def n_vcpus(self, preset: Preset) -> int:
        """Return the virtual CPUs of a whole cluster."""
        return self.n_slots(preset) + self.machines[preset.primary_machine].vcpus

    def n_slots(self, preset: Preset) -> int:
        """Return how many Spark tasks run at once."""
        return preset.workers * self.machines[preset.machine].vcpus


class EmrConfig(Sizes):
    """Everything about a launch that is not the job's own configuration.

    The URL holds no password: `database_secret` is the id of a secret in AWS Secrets Manager, `database_password_file`
    a path on the nodes. `root_certificate` is copied to the nodes and signs the database's certificate.
    `database_security_group_id` is `elsewhere` for a database that no group of this account guards; a launch needs one
    or the other.
    """

    bucket: str = Field(pattern=_S3_PLACE, description="s3://bucket/prefix for code and logs")
    region: str = Field(default="us-east-2", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    release: str = Field(default="emr-7.13.0", pattern=r"^emr-\d+\.\d+\.\d+$")
    subnet_id: str = Field(pattern=r"^subnet-[0-9a-f]+$")
    security_group_id: str | None = Field(default=None, pattern=r"^sg-[0-9a-f]+$")
    database_security_group_id: str | None = Field(default=None, pattern=r"^(sg-[0-9a-f]+|elsewhere)$")
    service_role: str = "EMR_DefaultRole"
    instance_profile: str = "EMR_EC2_DefaultRole"
    database_url: str | None = Field(default=None, repr=False)
    database_secret: str | None = None
    database_password_file: str | None = None
    root_certificate: str | None = Field(default=None, pattern=r"^(s3://.+|system)$")
    idle_timeout_s: int = Field(default=900, ge=60, le=604_800)
    disk_gib: int = Field(default=64, ge=15, le=1024)
    prefix: str = Field(default="/opt/stronglens", pattern=r"^/[\w./-]+$", description="Folder on the nodes")

    @field_validator("bucket")
    @classmethod
    def _without_slash(cls, bucket: str) -> str:
        return bucket.rstrip("/")


def load_sizes() -> Sizes:
    """Return the machines and presets that are shipped."""
    return load_config(Sizes, None)


def load_emr_config(path: Path | None, **overrides: object) -> EmrConfig:
    """Read the configuration of a launch.

    Raises
    ------
    ConfigError
        When it, or a preset in it, is wrong; the message is one line.
    """
    return load_config(EmrConfig, path, **overrides)
