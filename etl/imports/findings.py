"""What an import finds wrong with a manifest: rows that cannot be taken, and values that we derive otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etl.imports.errors import ManifestError

N_EXAMPLES = 3

Mask = NDArray[np.bool_]
Texts = NDArray[np.object_]


@dataclass
class Comparison:
    """One column: how many values were compared, how many differ, and the first that do."""

    n_compared: int = 0
    n_different: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Differences:
    """By column, what a manifest says against what we have or derive; filled batch by batch."""

    columns: dict[str, Comparison] = field(default_factory=dict)

    @property
    def n_different(self) -> int:
        """Values that differ, over all columns."""
        return sum(comparison.n_different for comparison in self.columns.values())

    def compare(self, column: str, keys: Texts, theirs: Texts, ours: Texts, is_different: Mask) -> None:
        """Count one batch of a column.

        Parameters
        ----------
        column
            Its name in the report.
        keys, theirs, ours
            Names of the galaxies, and the two values of each; shape (n,).
        is_different
            Which values differ, shape (n,).
        """
        comparison = self.columns.setdefault(column, Comparison())
        comparison.n_compared += len(keys)
        where = np.flatnonzero(is_different)
        comparison.n_different += len(where)
        for index in where[: N_EXAMPLES - len(comparison.examples)].tolist():
            comparison.examples.append(f"{keys[index]}: {_said(theirs[index])} in the file, {_said(ours[index])} here")

    def counts(self) -> dict[str, list[int]]:
        """Return compared and different values by column, for the record."""
        return {name: [item.n_compared, item.n_different] for name, item in self.columns.items()}

    def in_words(self) -> str:
        """Name the columns that differ, in one line, each with its first example."""
        differing = [(name, item) for name, item in self.columns.items() if item.n_different]
        return "; ".join(
            f"{name} of {item.n_different:,} of {item.n_compared:,} rows ({item.examples[0]})"
            for name, item in differing
        )


@dataclass
class RowProblems:
    """Rows that cannot be taken, by reason; any one refuses the whole file."""

    file: str
    n_rows: int
    reasons: dict[str, Comparison] = field(default_factory=dict)

    def note(self, numbers: NDArray[np.int64], keys: Texts, problems: dict[str, Mask]) -> None:
        """Count some rows by their numbers in the file; a row counts under its first problem only."""
        explained = np.zeros(len(keys), dtype=np.bool_)
        for reason, mask in problems.items():
            self.note_rows(reason, numbers, keys, mask & ~explained)
            explained |= mask

    def note_rows(self, reason: str, numbers: NDArray[np.int64], keys: NDArray[Any], is_bad: Mask) -> None:
        """Count the bad ones of some rows under a reason."""
        where = np.flatnonzero(is_bad)
        if not where.size:
            return
        found = self.reasons.setdefault(reason, Comparison())
        found.n_different += len(where)
        for index in where[: N_EXAMPLES - len(found.examples)].tolist():
            found.examples.append(f"row {numbers[index]} ({_said(keys[index])})")

    def refuse(self) -> None:
        """Refuse the file if any row cannot be taken.

        Raises
        ------
        ManifestError
            With each reason, how many rows it has, and the first of them.
        """
        if not self.reasons:
            return
        listed = "; ".join(
            f"{reason}: {found.n_different:,} ({', '.join(found.examples)})" for reason, found in self.reasons.items()
        )
        n_bad = sum(found.n_different for found in self.reasons.values())
        noun = "row" if n_bad == 1 else "rows"
        raise ManifestError(f"{self.file}: {n_bad:,} {noun} of {self.n_rows:,} cannot be taken: {listed}")


def _said(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
