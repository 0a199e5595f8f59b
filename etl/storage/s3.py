"""A store in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property, lru_cache
from typing import Any, BinaryIO, cast

from etl.errors import StorageError
from etl.storage.errors import AbsentError
from etl.storage.mirror import read_mark
from etl.storage.object_stream import ObjectStream, bucket_and_key
from etl.storage.store import PIECE_BYTES, RELATIVE_SCHEME, S3_SCHEME, ObjectStat

PART_BYTES = 16 << 20
"""A larger object is put in parts of this size, one held in memory at a time; there may be 10,000 of them."""

_CONNECTIONS = 64
_ATTEMPTS = 6
_client_lock = threading.Lock()


class S3Store:
    """A prefix of a bucket; it may be sent to another process."""

    def __init__(self, uri: str, endpoint_url: str | None = None) -> None:
        self.bucket, prefix = bucket_and_key(uri)
        self.prefix, self.endpoint_url = prefix.strip("/"), endpoint_url

    @property
    def address(self) -> str:
        """Where the store is: ``s3://bucket/prefix``."""
        return f"{S3_SCHEME}{self.bucket}/{self.prefix}".rstrip("/")

    def create(self) -> str:
        """Make the bucket, in the region that the environment names."""
        region = self._client.meta.region_name
        # Amazon's first region may not be named as a constraint.
        where = {} if region in {None, "us-east-1"} else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with _one_line(self.address), suppress(self._client.exceptions.BucketAlreadyOwnedByYou):
            self._client.create_bucket(Bucket=self.bucket, **where)
        return self.uri("")

    def put_bytes(self, key: str, data: bytes) -> str:
        """Put one object; S3 shows it whole or not at all."""
        with _one_line(self.uri(key)):
            self._client.put_object(**self._named(key), Body=data)
        return self.uri(key)

    def put_stream(self, key: str, stream: BinaryIO) -> str:
        """Put one object, in parts when it is large; S3 shows it whole or not at all."""
        head = _part(stream)
        if len(head) < PART_BYTES:
            return self.put_bytes(key, head)
        with _one_line(self.uri(key)):
            named = self._named(key)
            upload = named | {"UploadId": self._client.create_multipart_upload(**named)["UploadId"]}
            try:
                parts: list[dict[str, Any]] = []
                while head:
                    number = len(parts) + 1
                    answer = self._client.upload_part(**upload, PartNumber=number, Body=head)
                    parts.append({"PartNumber": number, "ETag": answer["ETag"]})
                    head = _part(stream)
                self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
            except BaseException:
                self._client.abort_multipart_upload(**upload)
                raise
        return self.uri(key)

    def get_bytes(self, key: str) -> bytes:
        """Get one object, again from where a connection broke."""
        with self.open(key) as stream:
            return b"".join(iter(lambda: stream.read(PIECE_BYTES), b""))

    def open(self, key: str) -> BinaryIO:
        """Open one object; where a connection breaks, reading goes on from there."""
        return cast("BinaryIO", _ObjectStream(self._client, self.uri(key), None, None))

    def exists(self, key: str) -> bool:
        """Say whether the object is there; a refusal is an error, not a no."""
        return self.stat(key) is not None

    def stat(self, key: str) -> ObjectStat | None:
        """Look for the object in a listing; its version is its ETag."""
        # Asked for its head, S3 cannot tell an absent object from an absent bucket.
        name = self._object(key)
        with _one_line(self.uri(key)):
            found = self._client.list_objects_v2(Bucket=self.bucket, Prefix=name, MaxKeys=1).get("Contents", ())
        about = next((item for item in found if item["Key"] == name), None)
        return None if about is None else ObjectStat(about["Size"], about["ETag"].strip('"'))

    def keys(self, prefix: str) -> set[str]:
        """List the objects below a prefix."""
        return set(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """List the objects below a prefix with their sizes."""
        folder = self._folder()
        with _one_line(self.uri(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._object(prefix)
            )
            return {
                item["Key"].removeprefix(folder): item["Size"] for page in pages for item in page.get("Contents", ())
            }

    def leftovers(self, prefix: str) -> set[str]:  # noqa: ARG002 - the form of a store
        """Name none: an upload that was not completed is no object (the bucket's lifecycle rule ends old ones)."""
        return set()

    def delete(self, key: str) -> None:
        """Remove one object."""
        with _one_line(self.uri(key)):
            self._client.delete_object(**self._named(key))

    def uri(self, key: str) -> str:
        """Return the full address."""
        return f"{S3_SCHEME}{self.bucket}/{self._object(key)}"

    def key(self, uri: str) -> str:
        """Return the key of an address below this prefix, of a relative one, or of one of the copied bucket's."""
        root = f"{S3_SCHEME}{self.bucket}/{self._folder()}"
        if not uri.startswith(S3_SCHEME):
            return uri.removeprefix(RELATIVE_SCHEME)
        if not uri.startswith(root):
            origin = self._origin
            if origin is None or not uri.startswith(f"{origin}/"):
                raise StorageError(f"{uri}: is not in the store {root}; set STRONGLENS_STORE to where it is")
            return uri.removeprefix(f"{origin}/")
        return uri.removeprefix(root)

    @cached_property
    def _origin(self) -> str | None:
        return read_mark(self)

    @property
    def _client(self) -> Any:
        with _client_lock:  # making one is not safe for threads; using one is
            return _s3_client(self.endpoint_url)

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._object(key)}

    def _folder(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _object(self, key: str) -> str:
        return self._folder() + self.key(key)


class _ObjectStream(ObjectStream):
    """Says in one line what the client raises."""

    def readinto(self, buffer: Any) -> int:
        with _one_line(self._uri):
            return super().readinto(buffer)


@contextmanager
def _one_line(uri: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "unknown")
        if code == "NoSuchKey":
            raise AbsentError(f"{uri}: there is no such object; check STRONGLENS_STORE, or make it again") from exc
        reason = {
            "NoSuchBucket": "there is no such bucket; run `stronglens store create`, or correct STRONGLENS_STORE",
            "AccessDenied": "access is denied; check the credentials and the bucket's policy",
        }.get(code, f"the object store answers {code}")
        raise StorageError(f"{uri}: {reason}") from exc
    except BotoCoreError as exc:
        raise StorageError(f"{uri}: {' '.join(str(exc).split())}") from exc


def _part(stream: BinaryIO) -> bytes:
    """Read one part, shorter only at the end of the stream."""
    pieces, n_left = [], PART_BYTES
    while n_left and (piece := stream.read(min(n_left, PIECE_BYTES))):
        pieces.append(piece)
        n_left -= len(piece)
    return b"".join(pieces)


@lru_cache(maxsize=4)
def _s3_client(endpoint_url: str | None) -> Any:
    import boto3
    from botocore.config import Config

    patient = Config(max_pool_connections=_CONNECTIONS, retries={"mode": "standard", "max_attempts": _ATTEMPTS})
    try:
        return boto3.client("s3", endpoint_url=endpoint_url, config=patient)
    except ValueError as exc:
        raise StorageError(f"STRONGLENS_S3_ENDPOINT_URL '{endpoint_url}': {exc}") from exc
