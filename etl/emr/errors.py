"""Errors that a user of a cluster can cause."""

from __future__ import annotations

from etl.errors import EtlError


class EmrError(EtlError):
    """A cluster, or the request for one, is refused."""
