"""Progress of a job, as lines in the step's log, not too many of them."""

from __future__ import annotations

import logging
import time

_EVERY_S = 30.0
_log = logging.getLogger(__name__)


class LoggedProgress:
    """Tells how much is done, every half minute."""

    def __init__(self, what: str) -> None:
        self._what, self._next_at = what, 0.0

    def tell(self, done: int, total: int) -> None:
        """Take in how much is done, of how much."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _EVERY_S
            _log.info("%d of %d %s done", done, total, self._what)
