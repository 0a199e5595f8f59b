"""Clients of AWS in a region that is always named, whose failures are one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etl.emr.errors import EmrError


def client(service: str, region: str) -> Any:
    """Make a client; boto3 finds the credentials."""
    import boto3

    return boto3.client(service, region_name=region)


@contextmanager
def one_line(what: str, fix: str = "") -> Iterator[None]:
    """Turn a refusal of AWS into an `EmrError` that says what was asked and how to go on."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as exc:
        about = exc.response.get("Error", {})
        reason = " ".join(f"{about.get('Code', 'unknown')}: {about.get('Message', '')}".split())
        raise EmrError(f"{what}: AWS refuses ({reason})" + (f"; {fix}" if fix else "")) from exc
    except BotoCoreError as exc:
        reason = " ".join(str(exc).split())
        raise EmrError(f"{what}: {reason}" + (f"; {fix}" if fix else "")) from exc


def bucket_and_key(place: str) -> tuple[str, str]:
    """Split ``s3://bucket/key``; EMR writes some of its addresses with s3n or s3a."""
    bucket, _, key = place.partition("://")[2].partition("/")
    return bucket, key
