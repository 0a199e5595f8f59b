"""A list of SHA-256 sums that came with a set of cutouts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from etl.cutouts.register.errors import Kind, NotTaken, RegisterError

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def read_checksums(path: Path) -> dict[str, str]:
    """Read name and sha256 of each file from CSV (with a header line) or Parquet.

    Raises
    ------
    RegisterError
        When it cannot be read, lacks a column, repeats a name, or holds what is no SHA-256.
    """
    try:
        table = parquet.read_table(path) if path.suffix == ".parquet" else csv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as exc:
        raise RegisterError(f"{path}: cannot be read as CSV or Parquet ({' '.join(str(exc).split())})") from exc
    absent = {"name", "sha256"} - set(table.column_names)
    if absent:
        raise RegisterError(f"{path}: has no column {', '.join(sorted(absent))}; expected name and sha256")
    names, sums = (table.column(column).cast(pa.string()).to_pylist() for column in ("name", "sha256"))
    listed = dict(zip(names, sums, strict=True))
    if len(listed) != len(names):
        raise RegisterError(f"{path}: {len(names) - len(listed)} names are there more than once; keep one line of each")
    wrong = [name for name, value in listed.items() if not _SHA256.fullmatch(value or "")]
    if wrong:
        raise RegisterError(f"{path}: {wrong[0]} has no SHA-256 (64 hexadecimal digits)")
    return listed


def compare(names: Sequence[str], listed: Mapping[str, str]) -> tuple[list[str], list[str], list[NotTaken]]:
    """Return the files that are on the list, their sums, and what is on one side only.

    The list may name files by their keys below the place or, where no two share one, by their last parts.
    """
    last = [name.rpartition("/")[2] for name in names]
    keys = last if len(set(last)) == len(last) and not any("/" in name for name in listed) else list(names)
    pairs = [(name, listed.get(key)) for name, key in zip(names, keys, strict=True)]
    odd = [NotTaken(name, Kind.UNLISTED, "is not on the list of hashes") for name, value in pairs if value is None]
    gone = sorted(set(listed) - set(keys))
    odd += [NotTaken(name, Kind.ABSENT, "is on the list of hashes, and not there") for name in gone]
    known = [(name, value) for name, value in pairs if value is not None]
    return [name for name, _ in known], [value for _, value in known], odd
