"""Errors that a user of `cutouts register` can cause, and why one file is not taken in.

The tree::

    etl.errors.EtlError
    └── RegisterError   a place, a list of hashes or a report that cannot be used
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from etl.errors import EtlError


class RegisterError(EtlError):
    """A place, a list of hashes or a report cannot be used."""


class Kind(StrEnum):
    """Why a file is not taken in; the words of the report."""

    UNREADABLE = "unreadable"
    ALTERED = "altered"
    UNLISTED = "unlisted"
    ABSENT = "absent"
    OTHER_LAYER = "other layer"
    LAYOUT = "layout"
    QUALITY = "quality"
    NO_OBJECT = "no object"
    FAR = "far"
    CONFLICT = "conflict"


@dataclass(frozen=True)
class NotTaken:
    """A file that is not taken in, and why, in one line."""

    file: str
    kind: Kind
    reason: str
