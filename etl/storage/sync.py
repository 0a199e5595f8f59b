"""`stronglens store sync`: copy what the database records from one store to another, every byte verified.

An object is copied under a temporary name (or as an upload that S3 shows when it is complete) while its SHA-256 is
taken, and appears at its key only if that is the recorded one. What is there in the right size is not copied again, so
a sync that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from etl.errors import StorageError
from etl.storage.errors import AbsentError, DamagedError
from etl.storage.findings import Finding, Unwatched, Watch, fault, refuse_when_unreadable
from etl.storage.http import HttpStore
from etl.storage.listing import NOTHING_SELECTED, Listing, Recorded, folders
from etl.storage.mirror import MARK, mark_as_mirror
from etl.storage.store import Store
from etl.storage.threads import in_threads
from etl.storage.verified import VerifiedStream


@dataclass(frozen=True)
class SyncOptions:
    """How to copy.

    Attributes
    ----------
    n_workers
        Objects copied at once; each holds 1 MiB, or 16 MiB of a large object on its way to S3.
    checksum
        Read what is there already and copy it anew where its SHA-256 is not the recorded one.
    delete
        Remove what lies in the same folders of the target and is not in the listing; nobody else may be writing there.
    """

    n_workers: int = 8
    checksum: bool = False
    delete: bool = False


@dataclass(frozen=True)
class SyncPlan:
    """What a sync has to do."""

    to_copy: tuple[str, ...]
    to_check: tuple[str, ...]
    to_delete: tuple[str, ...]
    n_bytes: int
    n_present: int
    n_others: int


@dataclass(frozen=True)
class SyncResult:
    """What a sync did; `findings` name what was not copied, since it is at fault in the source."""

    n_copied: int
    n_bytes: int
    n_checked: int
    n_deleted: int
    findings: Sequence[Finding] = field(default_factory=tuple)


def plan_sync(listing: Listing, source: Store, target: Store, options: SyncOptions) -> SyncPlan:
    """Compare the listing with what lies in the target, by name and size.

    Raises
    ------
    StorageError
        When source and target are one place, the database records nothing there, or a store refuses.
    """
    if source.address == target.address:
        raise StorageError(f"{source.address}: is both source and target; name two places")
    if not listing:
        raise StorageError(NOTHING_SELECTED)
    places = folders(listing)
    there = {key: size for place in places for key, size in target.sizes(place).items()}
    here = [key for key, recorded in listing.items() if there.get(key) == recorded.n_bytes]
    present = set(here)
    to_copy = tuple(key for key in listing if key not in present)
    to_check = tuple(here) if options.checksum else ()
    unlisted = sorted(there.keys() - listing.keys() - {MARK})
    leftovers = sorted(key for place in places for key in target.leftovers(place))
    others = set() if isinstance(source, HttpStore) else {key for place in places for key in source.keys(place)}
    return SyncPlan(
        to_copy=to_copy,
        to_check=to_check,
        to_delete=(*unlisted, *leftovers) if options.delete else (),
        n_bytes=sum(listing[key].n_bytes for key in (*to_copy, *to_check)),
        n_present=len(here) - len(to_check),
        n_others=len(others - listing.keys() - {MARK}),
    )


def sync(
    listing: Listing, plan: SyncPlan, stores: tuple[Store, Store], options: SyncOptions, watch: Watch | None = None
) -> SyncResult:
    """Carry a plan out, from the first of two stores to the second.

    Nothing is removed while an object of the listing could not be had.

    Raises
    ------
    StorageError
        When the target refuses (it is full, ...): what was copied stays, and the next sync goes on.
    """
    source, target = stores
    watch = watch or Unwatched()
    watch.expect(len(plan.to_copy) + len(plan.to_check), plan.n_bytes)
    mark_as_mirror(target, source)
    to_check = frozenset(plan.to_check)

    def one(key: str) -> tuple[str, bool] | Finding:
        if key in to_check and _is_right(target, key, listing[key], watch):
            return key, False
        try:
            with VerifiedStream(source, key, listing[key], watch.bytes_done) as stream:
                target.put_stream(key, cast("BinaryIO", stream))
        except (AbsentError, DamagedError) as exc:
            return fault(key, exc)
        return key, True

    findings: list[Finding] = []
    n_copied = n_bytes = n_checked = 0
    for outcome in in_threads(one, (*plan.to_copy, *plan.to_check), options.n_workers):
        watch.file_done()
        if isinstance(outcome, Finding):
            findings.append(outcome)
            refuse_when_unreadable(findings)
            continue
        key, was_copied = outcome
        n_copied += was_copied
        n_bytes += listing[key].n_bytes if was_copied else 0
        n_checked += not was_copied
    to_delete = () if findings else plan.to_delete
    n_deleted = sum(1 for _ in in_threads(target.delete, to_delete, options.n_workers))
    return SyncResult(n_copied, n_bytes, n_checked, n_deleted, findings)


def _is_right(target: Store, key: str, recorded: Recorded, watch: Watch) -> bool:
    try:
        with VerifiedStream(target, key, recorded, watch.bytes_done) as stream:
            stream.drain()
    except (AbsentError, DamagedError):
        return False
    return True
