"""What a snapshot's folder holds, and the JSON that describes and seals it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from training.packs.layout import Layout
from training.preprocess import PixelType

DESCRIPTION_NAME = "snapshot.json"
MANIFEST_NAME = "manifest.parquet"
README_NAME = "README.txt"
PACK_FOLDER = "pack"

Verdict = Literal["GO", "NO-GO", "changed since", "not validated"]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileSeal(_Strict):
    """Size and SHA-256 of a file."""

    n_bytes: int = Field(ge=0)
    sha256: Sha256


class PackDescription(_Strict):
    """What the shards hold; as in `imaging.pack`."""

    bands: Literal["grz"]
    crop_px: int = Field(gt=0)
    dtype: PixelType
    axis_order: Literal["cutout,y,x,band"]
    format: Literal["npy"]
    n_cutouts: int = Field(gt=0)
    shard_rows: int = Field(gt=0)

    def layout(self) -> Layout:
        """Return it as the reader of packs takes it."""
        return Layout(self.crop_px, self.dtype, self.n_cutouts, self.shard_rows)


class Description(_Strict):
    """What a snapshot is of; `files` are sealed by name, relative to the folder."""

    format: Literal["stronglens-snapshot"] = "stronglens-snapshot"
    format_version: Literal[2] = 2
    survey: Literal["dr10", "mock"]
    draw: str
    draw_id: int
    scheme: str
    scheme_id: int
    cutout_version: str
    cutout_px: int
    pixel_scale_arcsec: float
    pixel_unit: Literal["nanomaggy"] = "nanomaggy"
    manifest_sha256: Sha256
    gate: Verdict
    schema_revision: str
    stronglens_version: str
    column_units: dict[str, str]
    pack: PackDescription
    files: dict[str, FileSeal]
