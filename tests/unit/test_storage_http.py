"""A web server as a store that is only read: a real server, and what goes wrong with one."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest

from etl.errors import StorageError
from etl.storage import AbsentError, ObjectStat, Store, http, open_store

BODY = bytes(range(256)) * 400
SIZED = {"good", "short", "untagged"}
BROKEN = {"hang", "reset"}
STATUS = {"good": 200, "short": 200, "untagged": 200, "unsized": 200, "moved": 302, "absent": 404, "gone": 410}
HEADERS = {
    "good": {"ETag": '"abc"', "Content-Encoding": "gzip"},  # as some servers say of every .gz file
    "untagged": {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
    "moved": {"Location": "/data/good"},
    "429": {"Retry-After": "0"},
}


@dataclass
class Served:
    """What a server answers: to the n-th request of a path the n-th of its plans, the last for all further ones."""

    url: str = ""
    plans: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def plan(self, path: str) -> str:
        n_before = sum(1 for _, asked in self.asked if asked == path)
        plans = self.plans.get(path, ["absent"])
        return plans[min(n_before, len(plans) - 1)]


class Handler(BaseHTTPRequestHandler):
    """Answers as the plan of its server says."""

    state: Served

    def do_GET(self) -> None:
        plan = self._head()
        if plan in SIZED or plan == "unsized":
            self.wfile.write(BODY[:-1] if plan == "short" else BODY)

    def do_HEAD(self) -> None:
        self._head()

    def _head(self) -> str:
        path = unquote(self.path)
        plan = self.state.plan(path)
        self.state.asked.append((self.command, path))
        if plan in BROKEN:
            if plan == "hang":
                self.connection.recv(1)  # until the client gives up
            self.connection.shutdown(socket.SHUT_RDWR)
            return plan
        self.send_response(STATUS.get(plan) or int(plan))
        for name, value in HEADERS.get(plan, {}).items():
            self.send_header(name, value)
        if plan != "unsized":
            self.send_header("Content-Length", str(len(BODY) if plan in SIZED else 0))
        self.end_headers()
        return plan

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Served]:
    state = Served()
    handler = type("Handler", (Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/data"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(http, "_BACKOFF_S", 0.001)
    monkeypatch.setattr(http, "_READ_S", 0.3)
    http._pool.cache_clear()
    yield
    http._pool.cache_clear()


def test_files_are_read_as_they_are_stored_by_key_and_by_address(served: Served) -> None:
    served.plans["/data/coadd/a+b c.fits.fz"] = ["good"]
    store = open_store(f"{served.url}/")
    key = "coadd/a+b c.fits.fz"
    assert store.uri(key) == f"{served.url}/coadd/a%2Bb%20c.fits.fz"
    assert store.key(store.uri(key)) == key == store.key(f"store:{key}")
    assert store.get_bytes(key) == store.get_bytes(store.uri(key)) == BODY
    with store.open(key) as stream:
        assert stream.read() == BODY
    assert pickle.loads(pickle.dumps(store)).get_bytes(key) == BODY  # noqa: S301 - our own bytes


def test_existence_size_and_version_are_asked_for_without_reading(served: Served) -> None:
    served.plans |= {"/data/good": ["good"], "/data/plain": ["untagged"], "/data/unsized": ["unsized"]}
    store = open_store(served.url)
    assert store.exists("good")
    assert not store.exists("none")
    assert store.stat("good") == ObjectStat(len(BODY), "abc")
    assert store.stat("plain") == ObjectStat(len(BODY), f"Mon, 01 Jan 2024 00:00:00 GMT, {len(BODY)} bytes")
    assert store.stat("none") is None
    assert {method for method, _ in served.asked} == {"HEAD"}
    with pytest.raises(StorageError, match="does not say how large"):
        store.stat("unsized")


@pytest.mark.parametrize("trouble", ["500", "502", "503", "504", "429", "short", "reset", "hang"])
def test_what_fails_for_now_is_asked_for_again(served: Served, trouble: str) -> None:
    served.plans["/data/good"] = [trouble, trouble, "good"]
    assert open_store(served.url).get_bytes("good") == BODY
    assert len(served.asked) == 3


@pytest.mark.parametrize(("trouble", "n_asked"), [("500", 6), ("short", 6), ("403", 1), ("401", 1)])
def test_what_fails_for_good_is_one_line_that_names_the_file(served: Served, trouble: str, n_asked: int) -> None:
    served.plans["/data/good"] = [trouble]
    with pytest.raises(StorageError) as caught:
        open_store(served.url).get_bytes("good")
    assert str(caught.value).startswith(f"{served.url}/good: ")
    assert "\n" not in str(caught.value)
    assert len(served.asked) == n_asked


def test_an_absent_file_is_an_error_when_read_and_no_when_asked_for(served: Served) -> None:
    served.plans["/data/gone"] = ["gone"]
    store = open_store(served.url)
    for key in ("none", "gone"):
        assert not store.exists(key)
        with pytest.raises(AbsentError, match=f"/data/{key}: the server has no such file"):
            store.get_bytes(key)


def test_a_file_that_moved_is_followed(served: Served) -> None:
    served.plans |= {"/data/old": ["moved"], "/data/good": ["good"]}
    assert open_store(served.url).get_bytes("old") == BODY


def test_an_unreachable_server_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StorageError, match="asked 6 times without success") as caught:
        open_store(f"http://127.0.0.1:{port}").get_bytes("a")
    assert "\n" not in str(caught.value)


def test_nothing_is_written_removed_or_listed(served: Served) -> None:
    store: Store = open_store(served.url)
    refused: list[tuple[Callable[[], object], str]] = [
        (store.create, "only read"),
        (partial(store.put_bytes, "a", b""), "only read"),
        (partial(store.delete, "a"), "only read"),
        (partial(store.keys, "a/"), "lists no files"),
        (partial(store.sizes, "a/"), "lists no files"),
        (partial(store.leftovers, "a/"), "lists no files"),
    ]
    for action, words in refused:
        with pytest.raises(StorageError, match=words):
            action()
    assert served.asked == []


def test_keys_and_addresses_elsewhere_are_refused(served: Served) -> None:
    store = open_store(served.url)
    for key, words in (
        ("../secret", "outside"),
        ("/etc", "outside"),
        ("https://other/a", "is not below"),
        ("s3://b/a", "is not"),
    ):
        with pytest.raises(StorageError, match=words):
            store.get_bytes(key)
    with pytest.raises(StorageError, match="expected"):
        open_store("https://")
