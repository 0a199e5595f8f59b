"""Clients of AWS in a region that is always named, whose failures are one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etl.emr.errors import EmrError

_TOO_MANY = frozenset({"RequestLimitExceeded", "SlowDown", "TooManyRequestsException"})


def client(service: str, region: str) -> Any:
    """Make a client; boto3 finds the credentials.

    Raises
    ------
    EmrError
        When the region is none, or the profile of the credentials is not there.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        return boto3.client(service, region_name=region)
    except (BotoCoreError, ValueError) as exc:  # the latter for an address of the service that is none
        reason = " ".join(str(exc).split())
        raise EmrError(f"AWS {service} in {region}: {reason}; check the region and AWS_PROFILE") from exc


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


def is_passing(exc: BaseException) -> bool:
    """Tell whether a request failed for a reason that waiting may mend: throttled, broken off, or AWS's own fault."""
    from botocore import exceptions

    cause = exc.__cause__ if isinstance(exc, EmrError) else exc
    if isinstance(cause, exceptions.ClientError):
        code = cause.response.get("Error", {}).get("Code", "")
        status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status >= 500 or status == 429 or "Throttl" in code or code in _TOO_MANY
    return isinstance(cause, exceptions.ConnectionError | exceptions.HTTPClientError)


def bucket_and_key(place: str) -> tuple[str, str]:
    """Split ``s3://bucket/key``; EMR writes some of its addresses with s3n or s3a."""
    bucket, _, key = place.partition("://")[2].partition("/")
    return bucket, key
