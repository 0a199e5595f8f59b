"""Entry point of a cluster's step: check the archive of code, then run the job that is in it.

spark-submit runs this file by itself, so it imports nothing of ours before the archive is checked.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str]) -> int:
    """Run a job; return the exit status."""
    given = _parse(arguments)
    os.environ.update(given.environment)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with tempfile.TemporaryDirectory(prefix="stronglens-job-") as folder:
        archive = Path(folder) / "code.zip"
        try:
            _fetch(given.archive, archive)
        except Exception as exc:  # noqa: BLE001 - whatever the store says, it is one line
            return _fail(f"{given.archive}: cannot be read ({' '.join(str(exc).split())})")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != given.sha256:
            return _fail(f"{given.archive}: has SHA-256 {found}, {given.sha256} was launched: nothing was run")
        code = Path(folder) / "code"
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(code)
        sys.path.insert(0, str(code))
        return _run(given, archive)


def _run(given: argparse.Namespace, archive: Path) -> int:
    """Run the job with the session that spark-submit configured, its workers with the same code."""
    import json

    import psycopg
    from sqlalchemy.exc import DBAPIError

    from db.errors import StronglensError
    from etl.emr.jobs import attribute, job_config, job_named

    @contextmanager
    def session(_n_workers: int) -> Iterator[Any]:
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.appName(f"stronglens {given.job}")
        for name, value in given.environment:
            builder = builder.config(f"spark.executorEnv.{name}", value)
        made = builder.getOrCreate()
        made.sparkContext.addPyFile(str(archive))
        try:
            yield made
        finally:
            made.stop()

    try:
        job = job_named(given.job)
        config = job_config(job, None, **json.loads(given.config))
        return int(attribute(job.run)(config, given.places, session))
    except StronglensError as exc:
        return _fail(str(exc))
    except (DBAPIError, psycopg.Error) as exc:
        return _fail(f"the database refused: {getattr(exc, 'orig', None) or exc}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a job of stronglens on a cluster.")
    parser.add_argument("--archive", required=True, help="zip with the code, s3:// or a path")
    parser.add_argument("--sha256", required=True, help="SHA-256 of the archive, hexadecimal")
    parser.add_argument("--set", dest="environment", action="append", default=[], type=_variable, metavar="NAME=VALUE")
    parser.add_argument("--config", default="{}", help="configuration of the job, JSON")
    parser.add_argument("job")
    parser.add_argument("places", nargs="*")
    return parser.parse_args(arguments)


def _variable(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _fetch(place: str, target: Path) -> None:
    if not place.startswith("s3://"):
        target.write_bytes(Path(place).read_bytes())
        return
    import boto3

    bucket, _, key = place.removeprefix("s3://").partition("/")
    target.write_bytes(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
