"""`stronglens store verify`: hold what lies in a store against the database; nothing is written or removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from etl.errors import StorageError
from etl.storage.errors import AbsentError, DamagedError
from etl.storage.findings import Fault, Finding, Unwatched, Watch, fault, refuse_when_unreadable
from etl.storage.listing import NOTHING_SELECTED, Listing, Selection, folders, load_listing
from etl.storage.mirror import MARK
from etl.storage.store import Store
from etl.storage.threads import in_threads
from etl.storage.verified import VerifiedStream

ROOTS = ("cutouts/", "packs/", "checkpoints/")
"""Where a whole store is searched for what no row knows, beside the folders of what is recorded."""


@dataclass(frozen=True)
class Scope:
    """What is verified: objects that must be there, all that any row knows, and the folders searched for others."""

    selected: Listing
    recorded: Listing
    places: list[str]


@dataclass(frozen=True)
class VerifyOptions:
    """How to verify; `fast` compares names and sizes and reads nothing."""

    n_workers: int = 8
    fast: bool = False


@dataclass(frozen=True)
class VerifyResult:
    """What was found: `faults` of recorded objects, and `unknown` ones that no row knows."""

    n_objects: int
    n_bytes: int
    faults: list[Finding]
    unknown: list[Finding]


def load_scope(connection: Connection, store: Store, selection: Selection) -> Scope:
    """Ask the database what must be in a store.

    Raises
    ------
    MissingInputError
        When there is no such draw.
    StorageError
        When nothing of a part of the store is recorded, or an address is not in this store.
    """
    recorded = load_listing(connection, store, Selection())
    if selection == Selection():
        return Scope(recorded, recorded, folders([*recorded, *ROOTS]))
    selected = load_listing(connection, store, selection)
    if not selected:
        raise StorageError(NOTHING_SELECTED)
    return Scope(selected, recorded, folders(selected))


def verify(scope: Scope, store: Store, options: VerifyOptions, watch: Watch | None = None) -> VerifyResult:
    """Verify the objects of a store.

    Raises
    ------
    StorageError
        When the store refuses, or too many objects cannot be read.
    """
    watch = watch or Unwatched()
    selected = scope.selected
    there = {key: size for place in scope.places for key, size in store.sizes(place).items()}
    faults = list(_by_size(selected, there, store))
    suspect = {finding.key for finding in faults}
    to_read = [] if options.fast else [key for key in selected if key not in suspect]
    watch.expect(len(to_read), sum(selected[key].n_bytes for key in to_read))

    def one(key: str) -> Finding | None:
        try:
            with VerifiedStream(store, key, selected[key], watch.bytes_done) as stream:
                stream.drain()
        except (AbsentError, DamagedError) as exc:
            return fault(key, exc)
        return None

    for finding in in_threads(one, to_read, options.n_workers):
        watch.file_done()
        if finding is not None:
            faults.append(finding)
            refuse_when_unreadable(faults)
    n_bytes = sum(selected[key].n_bytes for key in to_read)
    unknown = [
        Finding("extra", key, f"{store.uri(key)}: no row of the database knows it")
        for key in sorted(there.keys() - scope.recorded.keys() - {MARK})
    ]
    leftovers = sorted(key for place in scope.places for key in store.leftovers(place))
    unknown += [Finding("left over", key, f"{store.uri(key)}: a writer was killed, or is at it") for key in leftovers]
    return VerifyResult(len(selected), n_bytes, sorted(faults, key=lambda finding: finding.key), unknown)


def _by_size(selected: Listing, there: dict[str, int], store: Store) -> Iterator[Finding]:
    for key, recorded in selected.items():
        size = there.get(key)
        if size is None:
            yield Finding("missing", key, f"{store.uri(key)}: is not there")
        elif size != recorded.n_bytes:
            kind: Fault = "truncated" if size < recorded.n_bytes else "altered"
            yield Finding(kind, key, f"{store.uri(key)}: has {size:,} of the recorded {recorded.n_bytes:,} bytes")
