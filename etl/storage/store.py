"""What a store is.

Addresses in the database are what `Store.uri` returns. In a bucket that is the full ``s3://bucket/prefix/key``. In
a folder it is ``store:key``, relative to the store's root, so that a folder that is moved, or mounted elsewhere on
another machine, keeps working: the setting ``STRONGLENS_STORE`` says where the root is now. A copy made by
`stronglens store sync` understands the addresses of what it is a copy of (`etl.storage.mirror`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol

RELATIVE_SCHEME = "store:"
S3_SCHEME = "s3://"
WEB_SCHEMES = ("https://", "http://")

PIECE_BYTES = 1 << 20
"""Streams are read and written so much at a time."""


@dataclass(frozen=True)
class ObjectStat:
    """What a store says of an object without reading it.

    `version` is a word that changes when the object does: size and time of change in a folder, the ETag in a bucket
    and on a web server (without one, the time of change and the size).
    """

    n_bytes: int
    version: str


class Store(Protocol):
    """Where files of many kinds are kept under keys such as ``cutouts/positives/v1/0001m040_4091.npz``.

    Every method raises `StorageError`, in one line, when the store refuses or the key leaves its root; reading an
    object that is not there raises `AbsentError`, which is one. A method that takes a key takes an address of the
    same store as well. A store may be used by many threads and be sent to another process.
    """

    @property
    def address(self) -> str:
        """Where the store is: an absolute path, or an address without a slash at its end."""

    def create(self) -> str:
        """Make the folder or bucket unless it is there; return its address."""

    def put_bytes(self, key: str, data: bytes) -> str:
        """Write an object, whole or not at all, over any that is there; return its address."""

    def put_stream(self, key: str, stream: BinaryIO) -> str:
        """Write an object from a stream, likewise: a stream that raises while it is read leaves nothing."""

    def get_bytes(self, key: str) -> bytes:
        """Read an object."""

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading from its start; the caller closes it."""

    def exists(self, key: str) -> bool:
        """Say whether there is such an object."""

    def stat(self, key: str) -> ObjectStat | None:
        """Say how large an object is, and in which version; None when it is not there."""

    def keys(self, prefix: str) -> set[str]:
        """List the keys below a prefix that ends in a slash; empty when there are none."""

    def sizes(self, prefix: str) -> dict[str, int]:
        """List the keys below a prefix that ends in a slash with their sizes in bytes, in one go."""

    def leftovers(self, prefix: str) -> set[str]:
        """List the temporary files below a prefix that writers which were killed left behind."""

    def delete(self, key: str) -> None:
        """Remove an object or a leftover; one that is not there is removed already."""

    def uri(self, key: str) -> str:
        """Return the address of a key, for the database."""

    def key(self, uri: str) -> str:
        """Return the key of an address of this store; a key is returned as it is."""
