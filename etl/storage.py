"""Objects under one root: a local folder, or a prefix of an S3 bucket.

Addresses in the database are what `Store.uri` returns. In a bucket that is the full ``s3://bucket/prefix/key``. In
a folder it is ``store:key``, relative to the store's root, so that a folder that is moved, or mounted elsewhere on
another machine, keeps working: the setting ``STRONGLENS_STORE`` says where the root is now.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from etl.errors import StorageError

RELATIVE_SCHEME = "store:"
S3_SCHEME = "s3://"


class Store(Protocol):
    """Where files of many kinds are kept under keys such as ``cutouts/positives/v1/0001m040_4091.npz``.

    Every method raises `StorageError`, in one line, when the store refuses or the key leaves its root. A method that
    takes a key takes an address of the same store as well.
    """

    def create(self) -> str:
        """Make the folder or bucket unless it is there; return its address."""

    def put_bytes(self, key: str, data: bytes) -> str:
        """Write an object, whole or not at all, over any that is there; return its address."""

    def get_bytes(self, key: str) -> bytes:
        """Read an object; one that is not there is a `StorageError`."""

    def exists(self, key: str) -> bool:
        """Say whether there is such an object."""

    def keys(self, prefix: str) -> set[str]:
        """List the keys below a prefix that ends in a slash; empty when there are none."""

    def uri(self, key: str) -> str:
        """Return the address of a key, for the database."""

    def key(self, uri: str) -> str:
        """Return the key of an address of this store; a key is returned as it is."""


def open_store(uri: str, endpoint_url: str | None = None) -> Store:
    """Open a store; nothing is read or written yet.

    Parameters
    ----------
    uri
        A folder (made when first written to), or ``s3://bucket/prefix``.
    endpoint_url
        Address of an S3 server other than Amazon's (setting ``STRONGLENS_S3_ENDPOINT_URL``).

    Raises
    ------
    StorageError
        When the address has another scheme or names no bucket.
    """
    if uri.startswith(S3_SCHEME):
        return S3Store(uri, endpoint_url)
    if "://" in uri or not uri:
        raise StorageError(f"store '{uri}': expected a folder or s3://bucket/prefix; set STRONGLENS_STORE")
    return LocalStore(Path(uri))


class LocalStore:
    """A folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()

    def create(self) -> str:
        """Make the folder."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(f"{self.root}: cannot be made ({os.strerror(exc.errno or 0)})") from exc
        return str(self.root)

    def put_bytes(self, key: str, data: bytes) -> str:
        """Write to a temporary file beside the target and rename it over it."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).chmod(0o644)
                Path(name).replace(path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as exc:
            raise StorageError(f"{path}: cannot be written ({os.strerror(exc.errno or 0)})") from exc
        return self.uri(key)

    def get_bytes(self, key: str) -> bytes:
        """Read a file."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except FileNotFoundError as exc:
            raise StorageError(f"{path}: is not in the store; check STRONGLENS_STORE, or make it again") from exc
        except OSError as exc:
            raise StorageError(f"{path}: cannot be read ({os.strerror(exc.errno or 0)})") from exc

    def exists(self, key: str) -> bool:
        """Say whether the file is there."""
        return self._path(key).is_file()

    def keys(self, prefix: str) -> set[str]:
        """List the files below a folder, without the temporary ones."""
        found: set[str] = set()
        for folder, _, names in os.walk(self._path(prefix)):
            below = Path(folder).relative_to(self.root).as_posix()
            found.update(f"{below}/{name}" for name in names if not name.startswith(".part-"))
        return found

    def uri(self, key: str) -> str:
        """Return the address relative to the store: ``store:key``."""
        return RELATIVE_SCHEME + self.key(key)

    def key(self, uri: str) -> str:
        """Return the key of a ``store:`` address."""
        if uri.startswith(S3_SCHEME):
            raise StorageError(f"{uri}: is not in the store {self.root}; set STRONGLENS_STORE to its bucket")
        return uri.removeprefix(RELATIVE_SCHEME)

    def _path(self, key: str) -> Path:
        path = Path(os.path.normpath(self.root / self.key(key)))
        if not path.is_relative_to(self.root) or path == self.root:
            raise StorageError(f"key '{key}' lies outside the store {self.root}")
        return path


class S3Store:
    """A prefix of a bucket; it may be sent to another process."""

    def __init__(self, uri: str, endpoint_url: str | None = None) -> None:
        bucket, _, prefix = uri.removeprefix(S3_SCHEME).partition("/")
        if not bucket:
            raise StorageError(f"store '{uri}' names no bucket; expected s3://bucket/prefix")
        self.bucket, self.prefix, self.endpoint_url = bucket, prefix.strip("/"), endpoint_url

    def create(self) -> str:
        """Make the bucket, in the region that the environment names."""
        region = self._client.meta.region_name
        # Amazon's first region may not be named as a constraint.
        where = {} if region in {None, "us-east-1"} else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with self._one_line(""), suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self._client.create_bucket(Bucket=self.bucket, **where)
        return self.uri("")

    def put_bytes(self, key: str, data: bytes) -> str:
        """Put one object; S3 shows it whole or not at all."""
        with self._one_line(key):
            self._client.put_object(Bucket=self.bucket, Key=self._object(key), Body=data)
        return self.uri(key)

    def get_bytes(self, key: str) -> bytes:
        """Get one object."""
        with self._one_line(key):
            body: bytes = self._client.get_object(Bucket=self.bucket, Key=self._object(key))["Body"].read()
            return body

    def exists(self, key: str) -> bool:
        """Say whether the object is there; a refusal is an error, not a no."""
        return self._object(key).removeprefix(self._folder()) in self.keys(key)

    def keys(self, prefix: str) -> set[str]:
        """List the objects below a prefix."""
        with self._one_line(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._object(prefix)
            )
            return {item["Key"].removeprefix(self._folder()) for page in pages for item in page.get("Contents", ())}

    def uri(self, key: str) -> str:
        """Return the full address."""
        return f"{S3_SCHEME}{self.bucket}/{self._object(key)}"

    def key(self, uri: str) -> str:
        """Return the key of a full address below this prefix."""
        root = f"{S3_SCHEME}{self.bucket}/{self._folder()}"
        if uri.startswith((S3_SCHEME, RELATIVE_SCHEME)) and not uri.startswith(root):
            raise StorageError(f"{uri}: is not in the store {root}; set STRONGLENS_STORE to where it is")
        return uri.removeprefix(root)

    @property
    def _client(self) -> Any:
        return _s3_client(self.endpoint_url)

    def _folder(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _object(self, key: str) -> str:
        return self._folder() + self.key(key)

    @contextmanager
    def _one_line(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as exc:
            code = exc.response.get("Error", {}).get("Code", "unknown")
            reason = {
                "NoSuchKey": "there is no such object; check STRONGLENS_STORE, or make it again",
                "NoSuchBucket": "there is no such bucket; run `stronglens store create`, or correct STRONGLENS_STORE",
                "AccessDenied": "access is denied; check the credentials and the bucket's policy",
            }.get(code, f"the object store answers {code}")
            raise StorageError(f"{self.uri(key)}: {reason}") from exc
        except BotoCoreError as exc:
            raise StorageError(f"{self.uri(key)}: {' '.join(str(exc).split())}") from exc


@lru_cache(maxsize=4)
def _s3_client(endpoint_url: str | None) -> Any:
    import boto3

    try:
        return boto3.client("s3", endpoint_url=endpoint_url)
    except ValueError as exc:
        raise StorageError(f"STRONGLENS_S3_ENDPOINT_URL '{endpoint_url}': {exc}") from exc
