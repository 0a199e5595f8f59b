"""What is wrong with the objects of a store, one row each; and who is told how far the work has come."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from etl.errors import StorageError
from etl.storage.errors import AbsentError, Damage, DamagedError

Fault = Literal["missing", Damage]

MAX_UNREADABLE = 100
"""So many objects that cannot be read are named; then it is the store that is at fault."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One object at fault, or (`extra`, `left over`) one that no row knows."""

    kind: Fault | Literal["extra", "left over"]
    key: str
    reason: str


class Watch(Protocol):
    """Is told how far the work has come, from many threads."""

    def expect(self, n_files: int, n_bytes: int) -> None:
        """Begin: so much there is to do."""

    def bytes_done(self, n_bytes: int) -> None:
        """So many bytes more were read."""

    def file_done(self) -> None:
        """One more file is done."""


class Unwatched:
    """Tells nobody."""

    def expect(self, n_files: int, n_bytes: int) -> None:
        """Do nothing."""

    def bytes_done(self, n_bytes: int) -> None:
        """Do nothing."""

    def file_done(self) -> None:
        """Do nothing."""


def fault(key: str, exc: AbsentError | DamagedError) -> Finding:
    """Turn what was raised about one object into a row."""
    return Finding(exc.damage if isinstance(exc, DamagedError) else "missing", key, str(exc))


def refuse_when_unreadable(findings: Sequence[Finding]) -> None:
    """Stop, after the last finding, when so much cannot be read that the objects are not to blame.

    Raises
    ------
    StorageError
        When `MAX_UNREADABLE` objects could not be read.
    """
    if findings[-1].kind != "unreadable":
        return
    unreadable = [finding for finding in findings if finding.kind == "unreadable"]
    if len(unreadable) >= MAX_UNREADABLE:
        raise StorageError(f"{len(unreadable)} objects cannot be read, stopped; the last: {unreadable[-1].reason}")


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Count findings by kind, the most frequent first."""
    return dict(Counter(finding.kind for finding in findings).most_common())


def as_csv(findings: Sequence[Finding]) -> bytes:
    """Write findings as a table: kind, key, reason."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("kind", "key", "reason"))
    writer.writerows((finding.kind, finding.key, finding.reason) for finding in findings)
    return table.getvalue().encode()
