"""What became of sweep files: one outcome each, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["loaded", "skipped", "refused", "failed"]


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    A skipped one was loaded before and has no counts; a refused one is at fault itself, a failed one is not, and both
    have a reason. `quarantined` describes the bad rows that were allowed and dropped: row number, key and reason.
    """

    name: str
    status: Status
    n_read: int = 0
    n_kept: int = 0
    n_not_selected: int = 0
    quarantined: tuple[str, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class LoadOutcome:
    """What became of all files of a run, by file name; `is_bulk` says that the pool still awaits its indexes."""

    files: Sequence[FileOutcome]
    is_bulk: bool = False

    def with_status(self, *status: Status) -> list[FileOutcome]:
        """Return the files with one of some statuses."""
        return [outcome for outcome in self.files if outcome.status in status]

    @property
    def n_read(self) -> int:
        """Rows read from the loaded files."""
        return sum(outcome.n_read for outcome in self.with_status("loaded"))

    @property
    def n_kept(self) -> int:
        """Rows that went into the pool."""
        return sum(outcome.n_kept for outcome in self.with_status("loaded"))

    @property
    def n_quarantined(self) -> int:
        """Bad rows that were allowed and dropped."""
        return sum(len(outcome.quarantined) for outcome in self.with_status("loaded"))
