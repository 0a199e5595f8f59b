"""Where many like pieces of work are done: in this process, in processes of this machine, or by Spark on a cluster.

A stage says what one piece is; who starts it says where. Results come in the order of the pieces, so that what a stage
writes does not depend on who was faster.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING, Protocol, TypeVar

from etl.errors import EtlError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Piece = TypeVar("Piece")
Result = TypeVar("Result")

WAVES_PER_SLOT = 8
"""Pieces that Spark gets at once, for each task that it runs at a time: results are written down after each wave."""


class Distribute(Protocol):
    """Do `work` on every piece; the results, in the order of the pieces, are there while the context is open."""

    def __call__(
        self, work: Callable[[Piece], Result], pieces: Sequence[Piece]
    ) -> AbstractContextManager[Iterator[Result]]:
        """Begin the work."""


def in_processes(n_workers: int) -> Distribute:
    """Work in `n_workers` processes of this machine, or in this one where one is enough.

    A process that dies (out of memory, killed) is an `EtlError`; what was not begun then is not begun.
    """

    @contextmanager
    def distribute(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Iterator[Result]]:
        if n_workers == 1 or len(pieces) < 2:
            yield (work(piece) for piece in pieces)
            return
        # Not fork: the parent holds database connections and a thread that draws the progress bar.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(n_workers, len(pieces)), context, _end_with_parent) as pool:
            futures = deque(pool.submit(work, piece) for piece in pieces)
            try:
                yield (futures.popleft().result() for _ in pieces)  # a result that was used is not kept
            except BrokenProcessPool as exc:
                raise EtlError("a worker process died (out of memory?): run again with fewer --workers") from exc
            finally:
                pool.shutdown(cancel_futures=True)

    return distribute


def _end_with_parent() -> None:
    """End this worker when its parent is killed: it would finish its piece, and wait for another for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_wait_and_exit, args=(parent.sentinel,), daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def in_spark(session: SparkSession) -> Distribute:
    """Work in the tasks of a Spark session, wave after wave; Spark starts a task again whose worker dies."""

    @contextmanager
    def distribute(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> Iterator[Iterator[Result]]:
        context = session.sparkContext
        size = max(1, context.defaultParallelism * WAVES_PER_SLOT)

        def results() -> Iterator[Result]:
            for first in range(0, len(pieces), size):
                wave = pieces[first : first + size]
                yield from context.parallelize(wave, len(wave)).map(work).collect()

        yield results()

    return distribute
