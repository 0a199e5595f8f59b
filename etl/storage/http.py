"""A web server's files below one address: they can be read, and nothing else."""

from __future__ import annotations

import io
import posixpath
from functools import lru_cache
from typing import Any, BinaryIO, NoReturn
from urllib.parse import quote, unquote, urlsplit

from etl.errors import StorageError
from etl.storage.errors import AbsentError
from etl.storage.store import RELATIVE_SCHEME, ObjectStat

MAX_ATTEMPTS = 6
"""How often a file is asked for before the server counts as unreachable."""

_BACKOFF_S = 0.5
_WAIT_AT_MOST_S = 60
_TRY_AGAIN = (429, 500, 502, 503, 504)
_ABSENT = {404, 410}
_OK = 200
_CONNECTIONS = 16
_CONNECT_S = 10
_READ_S = 60


class HttpStore:
    """The files of a web server below one address; it may be sent to another process.

    What fails for now (busy or broken server, timeout, a body that ends early) is asked for again, later each time.
    """

    def __init__(self, uri: str) -> None:
        self._root = uri.rstrip("/")
        if not urlsplit(self._root).netloc:
            raise StorageError(f"store '{uri}' names no host; expected https://host/path")

    @property
    def address(self) -> str:
        """Where the files are."""
        return self._root

    def create(self) -> str:
        """Refuse."""
        self._only_read("")

    def put_bytes(self, key: str, data: bytes) -> str:  # noqa: ARG002 - the form of a store
        """Refuse."""
        self._only_read(key)

    def put_stream(self, key: str, stream: BinaryIO) -> str:  # noqa: ARG002 - the form of a store
        """Refuse."""
        self._only_read(key)

    def delete(self, key: str) -> None:
        """Refuse."""
        self._only_read(key)

    def keys(self, prefix: str) -> set[str]:
        """Refuse."""
        self._lists_nothing(prefix)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Refuse."""
        self._lists_nothing(prefix)

    def leftovers(self, prefix: str) -> set[str]:
        """Refuse."""
        self._lists_nothing(prefix)

    def get_bytes(self, key: str) -> bytes:
        """Read a file."""
        answer = self._ask("GET", key)
        if answer.status in _ABSENT:
            raise AbsentError(f"{self.uri(key)}: the server has no such file; check the address")
        body: bytes = answer.data
        return body

    def open(self, key: str) -> BinaryIO:
        """Read a file, and give what was read."""
        return io.BytesIO(self.get_bytes(key))

    def exists(self, key: str) -> bool:
        """Ask whether the file is there."""
        return self._ask("HEAD", key).status not in _ABSENT

    def stat(self, key: str) -> ObjectStat | None:
        """Ask for size and ETag; without an ETag the version is the time of change and the size."""
        answer = self._ask("HEAD", key)
        if answer.status in _ABSENT:
            return None
        length = answer.headers.get("Content-Length", "")
        if not length.isdigit():
            raise StorageError(f"{self.uri(key)}: the server does not say how large the file is; copy it to a folder")
        tag = answer.headers.get("ETag", "").strip('"')
        return ObjectStat(int(length), tag or f"{answer.headers.get('Last-Modified', 'unknown')}, {length} bytes")

    def uri(self, key: str) -> str:
        """Return the full address."""
        plain = self.key(key)
        normal = posixpath.normpath(plain)
        if normal.startswith(("..", "/")):
            raise StorageError(f"key '{key}' lies outside the store {self._root}")
        return f"{self._root}/{quote(plain)}"

    def key(self, uri: str) -> str:
        """Return the key of a full address below this one, or of a relative one."""
        if "://" not in uri:
            return uri.removeprefix(RELATIVE_SCHEME)
        if not uri.startswith(f"{self._root}/"):
            raise StorageError(f"{uri}: is not below {self._root}; give the address where it is")
        return unquote(uri.removeprefix(f"{self._root}/"))

    def _ask(self, method: str, key: str) -> Any:
        from urllib3.exceptions import HTTPError, MaxRetryError

        uri = self.uri(key)
        try:
            answer = _pool().request(method, uri, headers={"Accept-Encoding": "identity"}, decode_content=False)
        except MaxRetryError as exc:
            why = " ".join(str(exc.reason).split())
            raise StorageError(f"{uri}: asked {MAX_ATTEMPTS} times without success ({why}); try later") from exc
        except HTTPError as exc:
            raise StorageError(f"{uri}: {' '.join(str(exc).split())}") from exc
        if answer.status != _OK and answer.status not in _ABSENT:
            raise StorageError(f"{uri}: the server answers {answer.status}; check the address and who may read it")
        return answer

    def _only_read(self, key: str) -> NoReturn:
        raise StorageError(f"{self._root}/{key}: a web server is only read; write to a folder or s3://bucket/prefix")

    def _lists_nothing(self, prefix: str) -> NoReturn:
        raise StorageError(f"{self._root}/{prefix}: a web server lists no files; use a folder or s3://bucket/prefix")


@lru_cache(maxsize=1)
def _pool() -> Any:
    import urllib3

    return urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        retries=urllib3.Retry(
            total=MAX_ATTEMPTS - 1,
            backoff_factor=_BACKOFF_S,
            backoff_jitter=_BACKOFF_S,
            backoff_max=_WAIT_AT_MOST_S,
            retry_after_max=_WAIT_AT_MOST_S,
            status_forcelist=_TRY_AGAIN,
        ),
    )
