"""An object of an object store as a stream that outlives broken connections."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etl.errors import StorageError

MAX_ATTEMPTS = 6
"""How often the same byte is asked for before the object counts as unreadable."""

RETRY_WAIT_S = 0.5
"""Wait before the first renewed attempt; each further wait is twice as long."""

_PIECE = 1 << 20
"""Read at most so much at a time: the client makes two copies of it."""

_PARTIAL_CONTENT = 206
_NO_LONGER_THERE = {412, 416}
"""Condition on the ETag not met; range beyond the end."""

_log = logging.getLogger(__name__)


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Split ``s3://bucket/key``; the key may be empty.

    Raises
    ------
    StorageError
        When it names no bucket.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise StorageError(f"{uri}: names no bucket; expected s3://bucket/prefix")
    return bucket, key


def store_client(endpoint_url: str | None) -> Any:
    """Return a client of Amazon's store, or of the one at an address.

    Raises
    ------
    StorageError
        When the address is not one.
    """
    import boto3

    try:
        return boto3.client("s3", endpoint_url=endpoint_url)
    except ValueError as exc:
        raise StorageError(f"STRONGLENS_S3_ENDPOINT_URL: {exc}") from exc


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what the client raises into a `StorageError` of one line."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, Boto3Error, ClientError) as exc:
        raise StorageError(f"{uri}: the object store refuses ({' '.join(str(exc).split())})") from exc


class ObjectStream(io.RawIOBase):
    """The bytes of one version of an object, in order.

    Where the connection breaks it is opened again from the next byte on, under the condition that the object is
    still the one that was listed.

    Parameters
    ----------
    etag
        The version to read; None takes the one that is there when reading starts.
    n_bytes
        Its size: a body that ends earlier counts as broken. None takes the size that the store states.
    """

    def __init__(self, client: Any, uri: str, n_bytes: int | None, etag: str | None) -> None:
        self._client = client
        self._uri = uri
        self._n_bytes = n_bytes
        self._etag = etag
        self._n_done = 0
        self._body: Any = None

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; 0 at the end.

        Raises
        ------
        StorageError
            When the object changed or vanished, the store refuses, or the connection breaks again and again.
        """
        from botocore.exceptions import ConnectionError as BotoConnectionError
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        if self._n_done == self._n_bytes:
            return 0
        reason: Exception | None = None
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                _log.warning("%s: opened again from byte %d on (%s)", self._uri, self._n_done, reason)
                time.sleep(RETRY_WAIT_S * 2 ** (attempt - 1))
            try:
                if self._body is None:
                    self._body = self._open()
                n_left = (self._n_bytes or 0) - self._n_done
                part: bytes = self._body.read(min(len(buffer), n_left, _PIECE))
            except (BotoConnectionError, HTTPClientError, IncompleteReadError, EOFError) as exc:
                reason = exc
            else:
                if part or not n_left:
                    buffer[: len(part)] = part
                    self._n_done += len(part)
                    return len(part)
                reason = EOFError("the body ends early")
            self._drop()
        raise StorageError(
            f"{self._uri}: the connection broke {MAX_ATTEMPTS} times at byte {self._n_done} of {self._n_bytes} "
            f"({' '.join(str(reason).split())}); run again"
        ) from reason

    def close(self) -> None:
        """Give the connection back."""
        self._drop()
        super().close()

    def _open(self) -> Any:
        from botocore.exceptions import ClientError

        bucket, key = bucket_and_key(self._uri)
        request = {"Bucket": bucket, "Key": key}
        if self._etag is not None:
            request["IfMatch"] = f'"{self._etag}"'
        if self._n_done:
            request["Range"] = f"bytes={self._n_done}-"
        try:
            answer = self._client.get_object(**request)
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] not in _NO_LONGER_THERE:
                raise
            raise self._changed() from exc
        if self._n_done and answer["ResponseMetadata"]["HTTPStatusCode"] != _PARTIAL_CONTENT:
            raise StorageError(f"{self._uri}: the object store cannot read from byte {self._n_done} on (HTTP Range)")
        if not {"ETag", "ContentLength"} <= set(answer):
            raise EOFError("the answer ends within its headers")
        found, n_bytes = answer["ETag"].strip('"'), answer["ContentLength"] + self._n_done
        # Not every store heeds the condition.
        if found != (self._etag or found) or n_bytes != (n_bytes if self._n_bytes is None else self._n_bytes):
            raise self._changed()
        self._etag, self._n_bytes = found, n_bytes
        return answer["Body"]

    def _changed(self) -> StorageError:
        return StorageError(f"{self._uri}: has changed since it was listed; run again")

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
