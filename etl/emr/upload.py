"""Files to S3, each read back and compared before anything relies on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from etl.emr.archive import Blob
from etl.emr.aws import bucket_and_key, client, one_line
from etl.emr.config import EmrConfig
from etl.emr.errors import EmrError


def folder_of(config: EmrConfig, code: Blob) -> str:
    """Return where a launch's files lie: named by the code, so that no launch overwrites another's."""
    return f"{config.bucket}/emr/code/{code.sha256}"


def upload(config: EmrConfig, folder: str, blobs: Iterable[Blob]) -> None:
    """Put files into a folder of the bucket.

    Raises
    ------
    EmrError
        When the store refuses, or gives back other bytes than it was given.
    """
    store = client("s3", config.region)
    for blob in blobs:
        uri = f"{folder}/{blob.name}"
        bucket, key = bucket_and_key(uri)
        with one_line(uri, "check the bucket and its policy"):
            store.put_object(Bucket=bucket, Key=key, Body=blob.data)
            found = store.get_object(Bucket=bucket, Key=key)["Body"].read()
        if hashlib.sha256(found).hexdigest() != blob.sha256:
            raise EmrError(f"{uri}: holds other bytes than were sent; launch again")
