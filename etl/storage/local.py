"""A store in a folder."""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from etl.errors import StorageError
from etl.storage.errors import AbsentError
from etl.storage.mirror import read_mark
from etl.storage.store import PIECE_BYTES, RELATIVE_SCHEME, S3_SCHEME, ObjectStat

PART_PREFIX = ".part-"
"""What the names of files begin with that are not yet whole."""

_WRITER = secrets.token_hex(4)
"""Tells this process from those of other machines that write to the same folder."""

_NUMBERS = itertools.count()


class LocalStore:
    """A folder.

    A file is whole or not at its name, whoever is killed and whenever. Against a power cut nothing is flushed: that
    costs tens of times the write itself, and a file that was lost so differs from its recorded SHA-256: readers refuse
    it, `stronglens store verify` names it, and the stage that made it makes it again.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    @property
    def address(self) -> str:
        """Where the folder is."""
        return str(self.root)

    def create(self) -> str:
        """Make the folder."""
        with _one_line(self.root, "made"):
            self.root.mkdir(parents=True, exist_ok=True)
        return str(self.root)

    def put_bytes(self, key: str, data: bytes) -> str:
        """Write to a temporary file beside the target and rename it over it."""
        path = self._path(key)
        with _one_line(path, "written"), _whole_or_not(path) as handle:
            _write_all(handle, data)
        return self.uri(key)

    def put_stream(self, key: str, stream: BinaryIO) -> str:
        """Write to a temporary file beside the target and rename it over it."""
        path = self._path(key)
        with _one_line(path, "written"), _whole_or_not(path) as handle:
            while part := stream.read(PIECE_BYTES):
                _write_all(handle, part)
        return self.uri(key)

    def get_bytes(self, key: str) -> bytes:
        """Read a file."""
        path = self._path(key)
        with _one_line(path, "read"):
            return path.read_bytes()

    def open(self, key: str) -> BinaryIO:
        """Open a file."""
        path = self._path(key)
        with _one_line(path, "read"):
            return path.open("rb", buffering=0)

    def exists(self, key: str) -> bool:
        """Say whether the file is there."""
        return self.stat(key) is not None

    def stat(self, key: str) -> ObjectStat | None:
        """Look at the file; its version is made of its size and the time of its last change."""
        path = self._path(key)
        try:
            with _one_line(path, "read"):
                about = path.stat()
        except AbsentError:
            return None
        if not stat.S_ISREG(about.st_mode):
            return None
        return ObjectStat(about.st_size, f"{about.st_size}-{about.st_mtime_ns}")

    def keys(self, prefix: str) -> set[str]:
        """List the files below a folder, without the temporary ones."""
        return {key for key in self._files(prefix) if not _is_part(key)}

    def sizes(self, prefix: str) -> dict[str, int]:
        """List the files below a folder, without the temporary ones, and look at each."""
        with _one_line(self.root / prefix, "listed"):
            return {key: (self.root / key).stat().st_size for key in self._files(prefix) if not _is_part(key)}

    def leftovers(self, prefix: str) -> set[str]:
        """List the temporary files below a folder; one of them may be in the making."""
        return {key for key in self._files(prefix) if _is_part(key)}

    def delete(self, key: str) -> None:
        """Remove a file."""
        path = self._path(key)
        with _one_line(path, "removed"):
            path.unlink(missing_ok=True)

    def uri(self, key: str) -> str:
        """Return the address relative to the store: ``store:key``."""
        return RELATIVE_SCHEME + self.key(key)

    def key(self, uri: str) -> str:
        """Return the key of a ``store:`` address, or of an address of the bucket that this is a copy of."""
        if uri.startswith(S3_SCHEME):
            origin = self._origin
            if origin is None or not uri.startswith(f"{origin}/"):
                raise StorageError(
                    f"{uri}: is not in the store {self.root}; set STRONGLENS_STORE to its bucket or to a copy of it"
                )
            return uri.removeprefix(f"{origin}/")
        return uri.removeprefix(RELATIVE_SCHEME)

    @cached_property
    def _origin(self) -> str | None:
        return read_mark(self)

    def _files(self, prefix: str) -> Iterator[str]:
        top = self._path(prefix) if prefix else self.root
        for folder, _, names in os.walk(top, onerror=_refuse_folder) if top.is_dir() else ():
            below = "" if Path(folder) == self.root else f"{Path(folder).relative_to(self.root).as_posix()}/"
            yield from (below + name for name in names)

    def _path(self, key: str) -> Path:
        path = Path(os.path.normpath(self.root / self.key(key)))
        if not path.is_relative_to(self.root) or path == self.root:
            raise StorageError(f"key '{key}' lies outside the store {self.root}")
        return path


def _refuse_folder(exc: OSError) -> None:
    raise StorageError(f"{exc.filename}: cannot be listed ({os.strerror(exc.errno or 0)})") from exc


def _is_part(key: str) -> bool:
    return key.rpartition("/")[2].startswith(PART_PREFIX)


@contextmanager
def _whole_or_not(path: Path) -> Iterator[int]:
    """Give a handle to write to; what was written gets its name at the end, or is removed."""
    name = f"{path.parent}/{PART_PREFIX}{_WRITER}-{os.getpid()}-{next(_NUMBERS)}"
    handle = _create(name, path.parent)
    try:
        try:
            yield handle
        finally:
            os.close(handle)
        os.replace(name, path)  # noqa: PTH105 - a tenth of the time of a cutout goes into making Paths
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _create(name: str, folder: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o644)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(name, flags, 0o644)


def _write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


@contextmanager
def _one_line(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        if what != "read":
            raise StorageError(f"{path}: cannot be {what} ({os.strerror(exc.errno or 0)})") from exc
        raise AbsentError(f"{path}: is not in the store; check STRONGLENS_STORE, or make it again") from exc
    except OSError as exc:
        raise StorageError(f"{path}: cannot be {what} ({os.strerror(exc.errno or 0)})") from exc
