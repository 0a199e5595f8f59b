"""What `stronglens sweeps load` keeps, and how hard it works."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from db.config import StageConfig

GalaxyType = Literal["SER", "DEV", "REX", "EXP"]


class SweepLoadConfig(StageConfig):
    """Which rows of a sweep belong to the pool, how many bad ones a file may have, and how many work on it.

    `mag_z_max` is the observed AB magnitude in z, not dereddened: 22.5 - 2.5 log10(FLUX_Z).
    """

    mag_z_max: float = Field(default=21.0, gt=0, lt=40)
    types: tuple[GalaxyType, ...] = Field(default=("SER", "DEV", "REX", "EXP"), min_length=1)
    max_quarantine_rows: int = Field(default=0, ge=0, description="Bad rows that a file may have")
    n_workers: int = Field(default=2, ge=1, le=1024, description="Files read at once")
    max_writers: int = Field(default=16, ge=1, le=1024, description="Connections that write to the database at once")
    patience_s: float = Field(default=300, ge=0, le=86_400, description="How long to wait for a lost database")
