"""The job `cutouts`: what `stronglens cutouts make` does, with the cluster's nodes for the bricks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from db.engine import open_engine
from db.settings import settings
from etl.cutouts.config import CutoutConfig
from etl.cutouts.make import StoreAddress, make_cutouts
from etl.distribute import in_spark
from etl.emr.errors import EmrError
from etl.emr.progress import LoggedProgress

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_log = logging.getLogger(__name__)


def run(
    config: CutoutConfig,
    places: Sequence[str],
    session: Callable[[int], AbstractContextManager[SparkSession]],
) -> int:
    """Cut a draw out of the coadds below one place; return 1 when a brick failed, else 0.

    Raises
    ------
    EmrError
        When there is not one place.
    """
    if len(places) != 1:
        raise EmrError(f"cutouts takes one place, that of the coadds, not {len(places)}: {' '.join(places)}")
    stage = config.model_copy(update={"source": "coadd", "coadds": places[0]})
    address = StoreAddress(settings().store, settings().s3_endpoint_url)
    engine = open_engine()
    with session(stage.n_workers) as spark:
        summary = make_cutouts(engine, stage, address, LoggedProgress("cutouts").tell, in_spark(spark))
    engine.dispose()
    for line in summary.lines():
        print(line)
    for reason in summary.failed:
        _log.error("failed: %s", reason)
    return 1 if summary.failed else 0
