"""Open a snapshot: every file verified, the manifest as the database would give it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import ValidationError

from training.errors import SnapshotError
from training.manifest import Manifest
from training.packs.layout import INDEX_NAME, shard_name
from training.packs.read import Pack, PackFile, PackFiles, open_pack, verify_file
from training.progress import Progress, silent
from training.snapshot.layout import DESCRIPTION_NAME, MANIFEST_NAME, PACK_FOLDER, Description
from training.snapshot.manifest_file import read_manifest_file

REMEDY = "copy the snapshot again, or make it again with `stronglens manifest export`"


@dataclass(frozen=True)
class Snapshot:
    """An open snapshot; `sha256` is that of its description, which seals all other files."""

    description: Description
    sha256: str
    manifest: Manifest
    pack: Pack

    @classmethod
    def open(cls, folder: Path, progress: Progress = silent) -> Self:
        """Read a snapshot's folder.

        Raises
        ------
        SnapshotError, PackError
            When it is none, or a file of it is missing, truncated or altered.
        """
        description, sha256 = read_description(folder)
        verify_file(_file(folder, description, MANIFEST_NAME), REMEDY)
        manifest = read_manifest_file(folder / MANIFEST_NAME, description)
        if manifest.digest() != description.manifest_sha256:
            raise SnapshotError(f"{folder / MANIFEST_NAME}: is not the manifest that was exported; {REMEDY}")
        layout = description.pack.layout()
        shards = tuple(_file(folder, description, f"{PACK_FOLDER}/{shard_name(n)}") for n in range(layout.n_shards))
        index = _file(folder, description, f"{PACK_FOLDER}/{INDEX_NAME}")
        pack = open_pack(PackFiles(f"the pack of {folder}", layout, shards, index, REMEDY), progress)
        if not np.array_equal(pack.cutout_id, manifest.cutout_id):
            raise SnapshotError(f"{folder}: its pack holds other cutouts than its manifest; {REMEDY}")
        return cls(description, sha256, manifest, pack)


def read_description(folder: Path) -> tuple[Description, str]:
    """Read the JSON of a snapshot, and its SHA-256.

    Raises
    ------
    SnapshotError
        When there is none, or it is damaged.
    """
    path = folder / DESCRIPTION_NAME
    try:
        body = path.read_bytes()
        return Description.model_validate_json(body), hashlib.sha256(body).hexdigest()
    except OSError as exc:
        raise SnapshotError(
            f"{path}: cannot be read ({os.strerror(exc.errno or 0)}): give a folder of `stronglens manifest export`"
        ) from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SnapshotError(f"{path}: {where + ': ' if where else ''}{first['msg']}; {REMEDY}") from exc


def _file(folder: Path, description: Description, name: str) -> PackFile:
    seal = description.files.get(name)
    if seal is None:
        raise SnapshotError(f"{folder / DESCRIPTION_NAME}: does not list {name}; {REMEDY}")
    return PackFile(folder / name, seal.sha256, seal.n_bytes)
