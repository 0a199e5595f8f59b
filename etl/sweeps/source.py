"""Where sweep files are: paths, folders and globs, on disk or in an object store."""

from __future__ import annotations

import datetime as dt
import fnmatch
import glob
import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from etl.errors import StorageError
from etl.storage.object_stream import ObjectStream, bucket_and_key, store_client, store_errors

SUFFIXES = (".fits", ".fits.gz")
_IN_FOLDER = ("sweep-*.fits", "sweep-*.fits.gz", "tractor-*.fits", "tractor-*.fits.gz")
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class SweepSource:
    """One file to load.

    Attributes
    ----------
    endpoint_url
        Address of the object store; None for its provider's own.
    etag
        The object store's name for the content that was listed, without quotes; None for a file on disk.
    """

    uri: str
    n_bytes: int
    modified_at: dt.datetime
    endpoint_url: str | None = None
    etag: str | None = None

    @property
    def name(self) -> str:
        """File name without its folder: what the ledger knows it by."""
        return self.uri.rpartition("/")[2]


def find_sources(places: Iterable[str], endpoint_url: str | None = None) -> list[SweepSource]:
    """List the files that paths, folders, globs and ``s3://`` addresses name, by file name.

    A folder stands for its ``sweep-*`` and ``tractor-*`` files (``.fits`` or ``.fits.gz``).

    Raises
    ------
    StorageError
        When a place names no file, two files share a name, or the object store refuses.
    """
    found: dict[str, SweepSource] = {}
    for place in places:
        listed = list(_in_store(place, endpoint_url) if place.startswith("s3://") else _on_disk(place))
        if not listed:
            raise StorageError(f"{place}: no sweep file there; expected {' or '.join(_IN_FOLDER[:2])}")
        for source in listed:
            other = found.setdefault(source.name, source)
            if other.uri != source.uri:
                raise StorageError(f"two files are named {source.name}: {other.uri} and {source.uri}; give one")
    return [found[name] for name in sorted(found)]


@contextmanager
def opened(source: SweepSource) -> Iterator[BinaryIO]:
    """Open a file for reading from its start, buffered, without copying it to disk.

    Raises
    ------
    StorageError
        While reading too: the object store refuses, or the object is no longer the one that was listed.
    """
    if not source.uri.startswith("s3://"):
        with Path(source.uri).open("rb", buffering=_BUFFER_BYTES) as stream:
            yield stream
        return
    with store_errors(source.uri):
        body = ObjectStream(store_client(source.endpoint_url), source.uri, source.n_bytes, source.etag)
        with io.BufferedReader(body, _BUFFER_BYTES) as stream:
            yield stream


def sha256_of(source: SweepSource) -> str:
    """Read a whole file and return the SHA-256 of its bytes, hexadecimal."""
    with opened(source) as stream:
        return hashlib.file_digest(cast("Any", stream), "sha256").hexdigest()


class HashedReader(io.RawIOBase):
    """Reads through to a stream and keeps the SHA-256 of what passed."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; 0 at the end."""
        n_read = int(self._stream.readinto(buffer))  # type: ignore[attr-defined]
        self._digest.update(memoryview(buffer)[:n_read])
        return n_read

    def hexdigest(self) -> str:
        """Read what is left, and return the digest of all."""
        while part := self._stream.read(_BUFFER_BYTES):
            self._digest.update(part)
        return self._digest.hexdigest()


def _on_disk(place: str) -> Iterator[SweepSource]:
    path = Path(place).expanduser()
    if path.is_dir():
        files = {file for pattern in _IN_FOLDER for file in path.glob(pattern)}
    elif path.exists():
        files = {path}
    else:
        matches = (Path(match) for match in glob.glob(str(path)))  # noqa: PTH207 - the pattern may be absolute
        files = {match for match in matches if match.name.endswith(SUFFIXES)}
    for file in sorted(files):
        about = file.stat()
        modified = dt.datetime.fromtimestamp(about.st_mtime, dt.UTC)
        yield SweepSource(str(file.resolve()), about.st_size, modified)


def _in_store(place: str, endpoint_url: str | None) -> Iterator[SweepSource]:
    bucket, key = bucket_and_key(place)
    is_pattern = any(sign in key for sign in "*?[")
    prefix = key[: min(key.find(sign) for sign in "*?[" if sign in key)] if is_pattern else key
    with store_errors(place):
        pages = store_client(endpoint_url).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        objects = [item for page in pages for item in page.get("Contents", [])]
    folder = key if not key or key.endswith("/") else f"{key}/"
    for item in objects:
        if is_pattern:
            wanted = fnmatch.fnmatchcase(item["Key"], key) and item["Key"].endswith(SUFFIXES)
        else:
            inner = item["Key"].removeprefix(folder) if item["Key"].startswith(folder) else ""
            in_folder = "/" not in inner and any(fnmatch.fnmatchcase(inner, pattern) for pattern in _IN_FOLDER)
            wanted = item["Key"] == key or in_folder
        if wanted:
            uri, etag = f"s3://{bucket}/{item['Key']}", item["ETag"].strip('"')
            yield SweepSource(uri, item["Size"], item["LastModified"], endpoint_url, etag)
