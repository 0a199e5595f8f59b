"""One cutout over the network: paced, timed, tried again where that may help."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import TypeVar

import urllib3
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, MaxRetryError

from etl.cutouts.service.config import ServiceConfig
from etl.cutouts.service.errors import PassingAnswerError, WrongAnswerError
from etl.cutouts.service.limiter import RateLimiter, shared_limiter

MAX_BYTES = 4 << 20
"""An answer has 126 kB; one beyond this is none of ours."""

_PIECE = 1 << 16
_OK = 200
_TOO_MANY_REQUESTS = 429
_SERVER_ERRORS = 500
_BUSY = {_TOO_MANY_REQUESTS, 503}
_REDIRECTIONS_ONLY = urllib3.Retry(total=None, connect=0, read=0, redirect=3, status=0, other=0)
"""What the client may do of its own accord; attempts are counted here."""
_log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and what the server calls this state of it (None: it does not say)."""

    body: bytes
    etag: str | None


def ask(config: ServiceConfig, url: str, read: Callable[[Answer], Result]) -> Result:
    """Ask for one cutout and return what `read` makes of it; tried again with exponential backoff and full jitter.

    Raises
    ------
    WrongAnswerError
        When the answer is final: another 4xx status than 429, or `read` says so.
    PassingAnswerError
        What the last attempt met, when `config.n_attempts` are used up.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(PassingAnswerError),
        stop=stop_after_attempt(config.n_attempts),
        wait=wait_random_exponential(multiplier=config.first_wait_s, max=config.longest_wait_s),
        reraise=True,
    )
    return attempts(lambda: read(_get(config, url)))


def _get(config: ServiceConfig, url: str) -> Answer:
    limiter = shared_limiter(config.url, config.requests_per_s)
    limiter.wait()
    deadline = time.monotonic() + config.timeout_s
    try:
        response = _connections(config.n_threads).request(
            "GET", url, timeout=config.timeout_s, retries=_REDIRECTIONS_ONLY, preload_content=False
        )
        try:
            _refuse_status(response, limiter, config.longest_wait_s)
            return Answer(_body(response, deadline, config.timeout_s), response.headers.get("ETag"))
        finally:
            # An answer that was not read to its end leaves a connection that nobody can use.
            response.close()
    except LocationValueError as exc:
        raise WrongAnswerError(f"the address cannot be asked ({_one_line(exc)})") from exc
    except (HTTPError, OSError) as exc:
        raise PassingAnswerError(f"no whole answer ({_one_line(exc)})") from exc


def _refuse_status(response: urllib3.BaseHTTPResponse, limiter: RateLimiter, longest_wait_s: float) -> None:
    if response.status in _BUSY:
        _pause(limiter, response.headers.get("Retry-After"), longest_wait_s)
    if response.status == _TOO_MANY_REQUESTS or response.status >= _SERVER_ERRORS:
        raise PassingAnswerError(f"the service answers HTTP {response.status}")
    if response.status != _OK:
        raise WrongAnswerError(f"the service answers HTTP {response.status}")


def _body(response: urllib3.BaseHTTPResponse, deadline: float, timeout_s: float) -> bytes:
    """Read the whole body; the client's own timeout only counts the silence between two pieces."""
    pieces, n_bytes = [], 0
    while piece := response.read1(_PIECE):
        pieces.append(piece)
        n_bytes += len(piece)
        if n_bytes > MAX_BYTES:
            raise WrongAnswerError(f"the answer has more than {MAX_BYTES:,} bytes")
        if time.monotonic() > deadline:
            raise PassingAnswerError(f"the answer was not there after {timeout_s:g} s")
    return b"".join(pieces)


def _pause(limiter: RateLimiter, retry_after: str | None, longest_s: float) -> None:
    """Do as the service asks, with every thread."""
    if retry_after is None:
        return
    try:
        seconds = min(urllib3.Retry().parse_retry_after(retry_after), longest_s)
    except InvalidHeader:
        return
    _log.info("the cutout service asks to be left alone for %.0f s", seconds)
    limiter.pause(seconds)


@lru_cache(maxsize=4)
def _connections(n_threads: int) -> urllib3.PoolManager:
    agent = f"stronglens/{version('stronglens')}"
    return urllib3.PoolManager(maxsize=n_threads, headers={"User-Agent": agent})


def _one_line(exc: Exception) -> str:
    if isinstance(exc, MaxRetryError) and exc.reason is not None:
        exc = exc.reason  # the rest repeats the address
    return " ".join(str(exc).split()) or type(exc).__name__
