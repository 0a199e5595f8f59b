"""The code that a cluster runs, as one archive: the same bytes for the same sources, wherever it is made."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from db.provenance import CHECKOUT, PACKAGES

_SUFFIXES = frozenset({".py", ".sql", ".yaml", ".properties"})
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Blob:
    """A file to upload, and the SHA-256 of its bytes."""

    name: str
    data: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def code_archive() -> Blob:
    """Pack all sources whose hash `provenance.run` records, and the package's version, uncompressed."""
    files = {"stronglens.py": (CHECKOUT / "stronglens.py").read_bytes()}
    for package in PACKAGES:
        for path in (CHECKOUT / package).rglob("*"):
            if path.suffix in _SUFFIXES and path.is_file():
                files[path.relative_to(CHECKOUT).as_posix()] = path.read_bytes()
    # The recorded run asks for the version of the installed package.
    number = version("stronglens")
    metadata = f"Metadata-Version: 2.1\nName: stronglens\nVersion: {number}\n"
    files[f"stronglens-{number}.dist-info/METADATA"] = metadata.encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return Blob("code.zip", packed.getvalue())


def launch_files() -> list[Blob]:
    """Read what lies beside the archive: entry point, bootstrap script, and the packages that it installs."""
    here = Path(__file__).parent
    paths = (here / "job.py", here / "bootstrap.sh", CHECKOUT / "requirements-etl.lock")
    return [Blob(path.name, path.read_bytes()) for path in paths]
