"""From an address to the store that is there."""

from __future__ import annotations

from pathlib import Path

from etl.errors import StorageError
from etl.storage.http import HttpStore
from etl.storage.local import LocalStore
from etl.storage.s3 import S3Store
from etl.storage.store import S3_SCHEME, WEB_SCHEMES, Store


def open_store(uri: str, endpoint_url: str | None = None) -> Store:
    """Open a store; nothing is read or written yet.

    Parameters
    ----------
    uri
        A folder (made when first written to), ``s3://bucket/prefix``, or ``https://host/path``, which is only read.
    endpoint_url
        Address of an S3 server other than Amazon's (setting ``STRONGLENS_S3_ENDPOINT_URL``).

    Raises
    ------
    StorageError
        When the address has another scheme or names no bucket or host.
    """
    if uri.startswith(S3_SCHEME):
        return S3Store(uri, endpoint_url)
    if uri.startswith(WEB_SCHEMES):
        return HttpStore(uri)
    if "://" in uri or not uri:
        raise StorageError(
            f"store '{uri}': expected a folder, s3://bucket/prefix, or https://host/path (only read); "
            "correct the address or STRONGLENS_STORE"
        )
    return LocalStore(Path(uri))
