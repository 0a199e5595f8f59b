"""The job `validate`: what `stronglens cutouts validate` does, with the cluster's nodes to read and measure.

The audit itself runs on the primary node: half a million rows of sixty numbers fit there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from db.engine import open_engine
from db.settings import settings
from etl.cutouts.make import StoreAddress
from etl.distribute import in_spark
from etl.emr.errors import EmrError
from etl.emr.progress import LoggedProgress
from etl.validation import EXIT_NO_GO
from etl.validation.validate import ValidationConfig, validate_cutouts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def run(
    config: ValidationConfig,
    places: Sequence[str],
    session: Callable[[int], AbstractContextManager[SparkSession]],
) -> int:
    """Validate the cutouts of a draw in the store at one place; return 3 on NO-GO, else 0.

    Raises
    ------
    EmrError
        When there is not one place.
    """
    if len(places) != 1:
        raise EmrError(f"validate takes one place, that of the store, not {len(places)}: {' '.join(places)}")
    address = StoreAddress(places[0], settings().s3_endpoint_url)
    engine = open_engine()
    with session(config.n_workers) as spark:
        report = validate_cutouts(engine, config, address, LoggedProgress("files").tell, in_spark(spark))
    engine.dispose()
    for gate in report.gates:
        print(f"{'passed' if gate.is_passed else 'FAILED'} {gate.rule}: {gate.detail}")
    for reason, n in report.quarantined:
        print(f"quarantined, {reason}: {n}")
    print(report.verdict)
    return 0 if report.is_go else EXIT_NO_GO
