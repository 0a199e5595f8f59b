"""A folder that is there when it is whole, and not before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.errors import SnapshotError


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes its name, beside it, when all went well, and goes otherwise.

    Raises
    ------
    SnapshotError
        When something is there already, or nothing can be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SnapshotError(f"{folder}: is there already: choose another folder, or remove it first")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            yield place
            place.chmod(0o755)
            place.replace(folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as exc:
        raise SnapshotError(f"{folder}: cannot be written ({os.strerror(exc.errno or 0)})") from exc
