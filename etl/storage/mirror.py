"""A copy of a store that understands the addresses of the original.

The database holds the full address of what lies in a bucket. `stronglens store sync` writes at the root of a copy which
store it is a copy of, so that a machine with STRONGLENS_STORE set to the copy finds everything there.
"""

from __future__ import annotations

from etl.errors import StorageError
from etl.storage.errors import AbsentError
from etl.storage.store import S3_SCHEME, WEB_SCHEMES, Store

MARK = ".mirror-of"
"""Key of the object that names the original."""


def read_mark(store: Store) -> str | None:
    """Return the address of the store that this one is a copy of; None when it is no copy."""
    try:
        return store.get_bytes(MARK).decode().strip() or None
    except AbsentError:
        return None


def mark_as_mirror(copy: Store, original: Store) -> None:
    """Write into a copy whose addresses it answers to; nothing where addresses are relative already.

    Raises
    ------
    StorageError
        When it is marked as a copy of another store, or cannot be written.
    """
    if original.address.startswith(WEB_SCHEMES):
        return
    origin = original.address if original.address.startswith(S3_SCHEME) else read_mark(original)
    if origin is None or origin == copy.address:
        return
    marked = read_mark(copy)
    if marked is None:
        copy.put_bytes(MARK, f"{origin}\n".encode())
    elif marked != origin:
        raise StorageError(f"{copy.address}: is a copy of {marked}, not of {origin}; copy to another place")
