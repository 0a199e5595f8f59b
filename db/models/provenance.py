"""Who ran what, with which configuration, and what came out."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, one_of

SHA256_RULE = "~ '^[0-9a-f]{64}$'"


class Config(Base):
    """A resolved configuration; triggers refuse UPDATE, DELETE and TRUNCATE."""

    __tablename__ = "config"
    __table_args__ = (
        CheckConstraint(f"config_sha256 {SHA256_RULE}", name="config_sha256_hex"),
        {
            "schema": "provenance",
            "comment": "A resolved stage configuration. A configuration that ran is never edited: "
            "UPDATE, DELETE and TRUNCATE are refused by trigger.",
        },
    )

    config_sha256: Mapped[str] = mapped_column(
        primary_key=True,
        comment="SHA-256 of the body as canonical JSON (sorted keys, no spaces), hexadecimal",
    )
    body: Mapped[dict[str, Any]] = mapped_column(comment="The configuration with every default filled in")
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="When it first ran")


class Run(Base):
    """One execution of a stage."""

    __tablename__ = "run"
    __table_args__ = (
        one_of("status", ("running", "succeeded", "failed")),
        CheckConstraint("(status = 'running') = (finished_at IS NULL)", name="finished_when_not_running"),
        CheckConstraint("(status = 'failed') = (error IS NOT NULL)", name="error_when_failed"),
        {
            "schema": "provenance",
            "comment": "One execution of a stage: what ran, from which code, and how it ended.",
        },
    )

    run_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, comment="Key of the run")
    command: Mapped[str] = mapped_column(index=True, comment="The stage, as typed after `stronglens`")
    config_sha256: Mapped[str] = mapped_column(
        ForeignKey("provenance.config.config_sha256"), comment="The configuration it ran with"
    )
    version: Mapped[str] = mapped_column(comment="Version of stronglens")
    git_commit: Mapped[str | None] = mapped_column(
        comment="Commit of the checkout, with `+dirty` when files differed from it; NULL outside a checkout"
    )
    code_sha256: Mapped[str] = mapped_column(comment="SHA-256 over the Python and SQL sources that ran, hexadecimal")
    host: Mapped[str] = mapped_column(comment="Name of the machine")
    started_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), comment="Start of the run")
    finished_at: Mapped[dt.datetime | None] = mapped_column(comment="End of the run; NULL while it runs")
    status: Mapped[str] = mapped_column(comment="running, succeeded or failed")
    error: Mapped[str | None] = mapped_column(comment="The message of the error that ended it; NULL unless failed")


class Artifact(Base):
    """A file that a run wrote."""

    __tablename__ = "artifact"
    __table_args__ = (
        UniqueConstraint("uri", "sha256"),
        CheckConstraint(f"sha256 {SHA256_RULE}", name="sha256_hex"),
        CheckConstraint("n_bytes >= 0", name="n_bytes_not_negative"),
        {"schema": "provenance", "comment": "A file that a run wrote: where it is and what it holds."},
    )

    artifact_id: Mapped[int] = mapped_column(
        BigInteger, Identity(always=True), primary_key=True, comment="Key of the artifact"
    )
    run_id: Mapped[int] = mapped_column(
        ForeignKey("provenance.run.run_id"), index=True, comment="The run that wrote it"
    )
    kind: Mapped[str] = mapped_column(comment="What it is: checkpoint, mock_sky, figure, ...")
    uri: Mapped[str] = mapped_column(comment="Address: a path or s3://bucket/key")
    sha256: Mapped[str] = mapped_column(comment="SHA-256 of its bytes, hexadecimal")
    n_bytes: Mapped[int] = mapped_column(BigInteger, comment="Size in bytes")
