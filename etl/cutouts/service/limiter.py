"""The pace of requests, kept by all threads together."""

from __future__ import annotations

import threading
import time
from functools import lru_cache


class RateLimiter:
    """Gives out turns that lie at least ``1 / per_s`` seconds apart; there are no bursts after a pause."""

    def __init__(self, per_s: float) -> None:
        self._apart_s = 1 / per_s
        self._lock = threading.Lock()
        self._next = 0.0  # monotonic time of the next turn

    def wait(self) -> None:
        """Wait for a turn."""
        while True:
            with self._lock:
                now = time.monotonic()
                if now >= self._next:
                    self._next = now + self._apart_s
                    return
                remaining = self._next - now
            # Not under the lock, and looked at again after: a pause may have come in between.
            time.sleep(remaining)

    def pause(self, seconds: float) -> None:
        """Give no turn for so long, to any thread."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


_sharing = threading.Lock()


def shared_limiter(service: str, per_s: float) -> RateLimiter:
    """Return the one limiter of this process for a service and a rate."""
    with _sharing:  # without it, threads that begin together would each get one of their own
        return _limiter_of(service, per_s)


@lru_cache(maxsize=4)
def _limiter_of(service: str, per_s: float) -> RateLimiter:
    del service
    return RateLimiter(per_s)
