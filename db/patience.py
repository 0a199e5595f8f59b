"""Waiting for a server that went away: it restarts, fails over or is full, and work that can be repeated goes on."""

from __future__ import annotations

import psycopg
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, wait_exponential_jitter

_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 10.0
_PASSING_REFUSALS = (
    "is starting up",
    "is shutting down",
    "in recovery mode",
    "not yet accepting connections",
    "too many clients",
    "connection slots are reserved",
    "terminating connection",
)
_CERTIFICATE = (
    "certificate verify failed",
    "root certificate",
    "server does not support SSL",
    "does not match host name",
)
# SQLSTATEs, or their first two characters: connection lost, shut down, starting up, too many clients, rolled back.
_PASSING = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")


def is_passing(exc: BaseException) -> bool:
    """Tell whether an error of the database is one that waiting may mend: the server went away, or two collided."""
    cause = exc.orig if isinstance(exc, DBAPIError) else exc
    if not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is None:  # the connection broke or was never made; the driver hands on no SQLSTATE of a refusal
        is_lost = isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
        return is_lost and not _is_refusal(str(cause))
    return cause.sqlstate.startswith(_PASSING)


def _is_refusal(words: str) -> bool:
    """Tell whether a server (or the check of its certificate) has turned a connection down for good."""
    said_no = "FATAL:" in words and not any(phrase in words for phrase in _PASSING_REFUSALS)
    return said_no or any(phrase in words for phrase in _CERTIFICATE)


def patiently(patience_s: float) -> Retrying:
    """Return an iterator of attempts, ``for attempt in patiently(60): with attempt: ...``.

    An attempt that fails for a passing reason is followed by another, with growing pauses, until `patience_s` seconds
    of them have gone by; then, as for any other error, the error itself is raised. Only pauses count: work may have
    gone on for longer than that before it failed. An attempt must be a whole transaction.
    """
    return Retrying(
        retry=retry_if_exception(is_passing),
        stop=lambda state: state.idle_for >= patience_s,
        wait=wait_exponential_jitter(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S),
        reraise=True,
    )
