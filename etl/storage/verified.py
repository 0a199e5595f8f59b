"""The bytes of an object as they are read, compared with what the database recorded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

from etl.errors import StorageError
from etl.storage.errors import AbsentError, DamagedError
from etl.storage.listing import Recorded
from etl.storage.store import PIECE_BYTES, Store


class VerifiedStream(io.RawIOBase):
    """A stream that raises before its end unless size and SHA-256 are the recorded ones.

    So who writes what it reads, and writes nothing when the stream raises, never writes altered bytes.

    Parameters
    ----------
    on_bytes
        Told after each piece how many bytes it had.

    Raises
    ------
    AbsentError
        When there is no such object.
    DamagedError
        While reading: it is shorter, longer or other than recorded, or cannot be read.
    """

    def __init__(self, store: Store, key: str, recorded: Recorded, on_bytes: Callable[[int], object]) -> None:
        self._name = store.uri(key)
        self._recorded = recorded
        self._on_bytes = on_bytes
        self._digest = hashlib.sha256()
        self._n_done = 0
        self._stream: Any = self._readable(lambda: store.open(key))

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read a piece; none is left only when all were right."""
        wanted = self._recorded
        # One byte more than is left shows an object that is too long, and small files get small buffers.
        n_most = min(PIECE_BYTES if size < 0 else size, wanted.n_bytes - self._n_done + 1)
        piece: bytes = self._readable(lambda: self._stream.read(n_most))
        self._digest.update(piece)
        self._n_done += len(piece)
        self._on_bytes(len(piece))
        if self._n_done > wanted.n_bytes:
            raise DamagedError(f"{self._name}: is longer than the recorded {wanted.n_bytes:,} bytes", "altered")
        if piece:
            return piece
        if self._n_done < wanted.n_bytes:
            size_found = f"has {self._n_done:,} of the recorded {wanted.n_bytes:,} bytes"
            raise DamagedError(f"{self._name}: {size_found}", "truncated")
        found = self._digest.hexdigest()
        if found != wanted.sha256:
            hashes = f"SHA-256 {found[:12]}, recorded {wanted.sha256[:12]}"
            raise DamagedError(f"{self._name}: holds other bytes than recorded ({hashes})", "altered")
        return b""

    def drain(self) -> None:
        """Read to the end."""
        while self.read(PIECE_BYTES):
            pass

    def close(self) -> None:
        """Close the object."""
        if not self.closed:
            self._stream.close()
        super().close()

    def _readable(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except AbsentError:
            raise
        except StorageError as exc:
            raise DamagedError(str(exc), "unreadable") from exc
        except OSError as exc:
            raise DamagedError(f"{self._name}: cannot be read ({exc.strerror})", "unreadable") from exc
