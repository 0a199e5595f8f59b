"""Many small waits at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_AHEAD = 8


def in_threads(work: Callable[[Piece], Result], pieces: Iterable[Piece], n_threads: int) -> Iterator[Result]:
    """Do `work` on every piece in threads and give results as they come; few pieces wait, however many there are.

    What `work` raises is raised here, and what was not begun is not begun.
    """
    done: SimpleQueue[Future[Result]] = SimpleQueue()
    left = iter(pieces)
    with ThreadPoolExecutor(n_threads) as pool:

        def begin(piece: Piece) -> None:
            pool.submit(work, piece).add_done_callback(done.put)

        n_begun = 0
        try:
            for piece in islice(left, n_threads * _AHEAD):
                begin(piece)
                n_begun += 1
            while n_begun:
                result = done.get().result()
                n_begun -= 1
                for piece in islice(left, 1):
                    begin(piece)
                    n_begun += 1
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
