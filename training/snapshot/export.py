"""The stage `stronglens manifest export`: a manifest and its pack leave the database, sealed, in one folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import Field
from sqlalchemy import Engine

from db import migrate
from db.config import StageConfig
from db.models.imaging import Pack as PackRow
from db.provenance import recorded_run
from db.settings import settings
from etl.cutouts.files import PIXEL_SCALE_ARCSEC
from etl.storage import Store, open_store
from etl.validation.verdict import read_verdict, usable_digest
from training.errors import PackError, SnapshotError
from training.manifest import Manifest, named_manifest
from training.packs import records
from training.packs.layout import INDEX_NAME, shard_name
from training.packs.records import Written
from training.preprocess import PixelType
from training.progress import Progress, silent
from training.snapshot.folder import new_folder
from training.snapshot.layout import (
    DESCRIPTION_NAME,
    MANIFEST_NAME,
    PACK_FOLDER,
    README_NAME,
    Description,
    FileSeal,
    PackDescription,
    Verdict,
)
from training.snapshot.manifest_file import UNITS, read_manifest_file, write_manifest_file

_PIECE = 4 << 20


class ExportConfig(StageConfig):
    """Which manifest to export, with which of its packs (None: any, the smallest)."""

    draw: str = "default"
    scheme: str = "default"
    cutout_version: str = "v1"
    crop_px: int | None = Field(default=None, ge=1)
    dtype: PixelType | None = None


@dataclass(frozen=True)
class Exported:
    """What was exported; `sha256` is that of the description, which seals the other files."""

    folder: Path
    description: Description
    sha256: str


def export_snapshot(engine: Engine, config: ExportConfig, folder: Path, progress: Progress = silent) -> Exported:
    """Write a snapshot; the folder is there when it is whole, and not before.

    Raises
    ------
    MissingInputError
        When there is no such manifest.
    PackError
        When it has no pack, or a file of that was altered.
    SnapshotError
        When the folder is there already or cannot be written, or the manifest changed meanwhile.
    """
    manifest = named_manifest(engine, config.draw, config.scheme, config.cutout_version)
    row = _chosen_pack(engine, manifest, config)
    environment = settings()
    store = open_store(environment.store, environment.s3_endpoint_url)
    with recorded_run(engine, command="manifest export", config=config), new_folder(folder) as place:
        (place / PACK_FOLDER).mkdir()
        seals = _copy_pack(engine, row, store, place, progress)
        write_manifest_file(engine, manifest, place / MANIFEST_NAME)
        (place / README_NAME).write_text(_readme(config, manifest))
        seals |= {name: _seal(place / name) for name in (MANIFEST_NAME, README_NAME)}
        description = _description(engine, config, manifest, row, seals)
        if read_manifest_file(place / MANIFEST_NAME, description).digest() != manifest.digest():
            raise SnapshotError(f"draw {config.draw!r}: its manifest changed while it was exported: run again")
        body = (description.model_dump_json(indent=1) + "\n").encode()
        (place / DESCRIPTION_NAME).write_bytes(body)
    return Exported(folder, description, hashlib.sha256(body).hexdigest())


def _chosen_pack(engine: Engine, manifest: Manifest, config: ExportConfig) -> PackRow:
    for row in records.packs_of(engine, manifest):
        is_wanted = config.crop_px in (None, row.crop_px) and config.dtype in (None, row.dtype)
        if row.status == "complete" and is_wanted:
            return row
    options = f"--draw {config.draw} --scheme {config.scheme} --cutout-version {config.cutout_version}"
    raise PackError(f"draw {config.draw!r}: its manifest has no such pack: run `stronglens store pack {options}` first")


def _copy_pack(engine: Engine, row: PackRow, store: Store, place: Path, progress: Progress) -> dict[str, FileSeal]:
    index = Written(str(row.index_uri), str(row.index_sha256), int(row.index_n_bytes or 0))
    shards = records.shards_of(engine, row.pack_id)
    files = {
        f"{PACK_FOLDER}/{shard_name(shard.shard)}": Written(shard.uri, shard.sha256, shard.n_bytes) for shard in shards
    }
    files[f"{PACK_FOLDER}/{INDEX_NAME}"] = index
    n_total, n_done = sum(file.n_bytes for file in files.values()), 0
    for name, file in files.items():
        digest = hashlib.sha256()
        with store.open(file.uri) as source, (place / name).open("wb") as target:
            while piece := source.read(_PIECE):
                digest.update(piece)
                target.write(piece)
                n_done += len(piece)
                progress("copying the pack (MB)", n_done // 1_000_000, n_total // 1_000_000)
        if digest.hexdigest() != file.sha256:
            raise PackError(f"{file.uri}: altered since it was written; {records.REMEDY}")
    return {name: FileSeal(n_bytes=file.n_bytes, sha256=file.sha256) for name, file in files.items()}


def _description(
    engine: Engine, config: ExportConfig, manifest: Manifest, row: PackRow, seals: dict[str, FileSeal]
) -> Description:
    names = ("bands", "crop_px", "dtype", "axis_order", "format", "n_cutouts", "shard_rows")
    ((_bands, cutout_px),) = manifest.layouts
    return Description.model_validate(
        {
            "survey": manifest.survey,
            "draw": config.draw,
            "draw_id": manifest.draw_id,
            "scheme": config.scheme,
            "scheme_id": manifest.scheme_id,
            "cutout_version": config.cutout_version,
            "cutout_px": cutout_px,
            "pixel_scale_arcsec": PIXEL_SCALE_ARCSEC,
            "manifest_sha256": manifest.digest(),
            "gate": _verdict(engine, manifest),
            "schema_revision": str(migrate.current(engine)),
            "stronglens_version": version("stronglens"),
            "column_units": UNITS,
            "pack": PackDescription.model_validate({name: getattr(row, name) for name in names}),
            "files": dict(sorted(seals.items())),
        }
    )


def _verdict(engine: Engine, manifest: Manifest) -> Verdict:
    with engine.connect() as connection:
        verdict = read_verdict(connection, manifest.draw_id, manifest.cutout_version)
        if verdict is None:
            return "not validated"
        if usable_digest(connection, manifest.draw_id, manifest.cutout_version) != verdict.cutouts_sha256:
            return "changed since"
        return "GO" if verdict.is_go else "NO-GO"


def _seal(path: Path) -> FileSeal:
    with path.open("rb") as file:
        return FileSeal(n_bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _readme(config: ExportConfig, manifest: Manifest) -> str:
    return (
        f"{len(manifest):,} cutouts of draw {config.draw!r}, split scheme {config.scheme!r}, version "
        f"{config.cutout_version}, survey {manifest.survey}: listed in {MANIFEST_NAME}, pixels in {PACK_FOLDER}/.\n"
        f"{DESCRIPTION_NAME} says what the pixels are (nanomaggies, bands g, r, z) and seals every file by SHA-256.\n"
        "Train on it, without a database: stronglens train RECIPE.yaml --manifest THIS_FOLDER --out ANOTHER_FOLDER\n"
    )
