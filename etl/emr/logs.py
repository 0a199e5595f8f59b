"""What a cluster's steps wrote, from the log folder in S3."""

from __future__ import annotations

import gzip
from typing import Literal

from etl.emr.aws import bucket_and_key, client, one_line
from etl.emr.cluster import ClusterState
from etl.emr.errors import EmrError

Stream = Literal["stdout", "stderr", "controller"]
"""What the job wrote (spark-submit joins Python's two streams), what Spark wrote, what EMR wrote."""


def step_log(state: ClusterState, step_id: str, stream: Stream, region: str) -> str:
    """Fetch and unpack one log of a step.

    Raises
    ------
    EmrError
        When it is not there (EMR writes logs some minutes after a step has begun), or the store refuses.
    """
    bucket, folder = bucket_and_key(state.log_uri)
    key = f"{folder.rstrip('/')}/{state.cluster_id}/steps/{step_id}/{stream}.gz"
    fix = "EMR copies logs every five minutes, and at the end: try again later"
    with one_line(f"s3://{bucket}/{key}", fix):
        packed = client("s3", region).get_object(Bucket=bucket, Key=key)["Body"].read()
    try:
        return gzip.decompress(packed).decode(errors="replace")
    except (OSError, EOFError) as exc:
        raise EmrError(f"s3://{bucket}/{key}: is not a whole gzip file ({exc}); {fix}") from exc


def last_words(state: ClusterState, step_id: str, region: str, n_lines: int = 10) -> list[str]:
    """Return the last lines of what a job wrote; none when they are not there yet."""
    try:
        return step_log(state, step_id, "stdout", region).rstrip().splitlines()[-n_lines:]
    except EmrError:
        return []
