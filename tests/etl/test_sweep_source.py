"""Sweep files in object stores: two real servers, broken connections, and how much memory reading takes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlparse

import boto3
import numpy as np
import pytest
from astropy.io import fits
from isal import igzip
from sqlalchemy import Engine, select
from sqlalchemy.engine import URL

from db.bulk import begin_bulk
from db.models.catalog import SweepFile
from db.settings import CHECKOUT
from etl.errors import StorageError, SweepFileError
from etl.storage import object_stream
from etl.sweeps.queue import fill_queue
from etl.sweeps.reader import read_sweep
from etl.sweeps.source import HashedReader, SweepSource, find_sources, opened, sha256_of
from tests.builders import insert_run

RunCli = Callable[..., subprocess.CompletedProcess[str]]
NAME = "sweep-000m005-005p000.fits"
ADDRESS = f"s3://survey/dr10/{NAME}"


@dataclass
class Store:
    """A running object store with one sweep in it."""

    url: str
    client: Any
    path: Path

    def source(self, endpoint_url: str | None = None) -> SweepSource:
        (source,) = find_sources([ADDRESS], self.url)
        return replace(source, endpoint_url=endpoint_url or self.url)


@pytest.fixture(autouse=True)
def _credentials(store_credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store_credentials.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(object_stream, "RETRY_WAIT_S", 0.001)


@pytest.fixture(scope="module")
def sweep_path(sweep_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(sweep_files.write(tmp_path_factory.mktemp("sweep") / NAME, sweep_files.make(9000)))


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    # All such servers of a process share what they hold.
    with closing(HTTPConnection(host, port)) as connection:
        connection.request("POST", "/moto-api/reset")
        assert connection.getresponse().status == 200
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto(moto_url: str, sweep_path: Path) -> Store:
    client = boto3.client("s3", endpoint_url=moto_url)
    client.create_bucket(Bucket="survey")
    client.put_object(Bucket="survey", Key=f"dr10/{NAME}", Body=sweep_path.read_bytes())
    return Store(moto_url, client, sweep_path)


@pytest.fixture(scope="module")
def rclone_folder(tmp_path_factory: pytest.TempPathFactory, sweep_path: Path) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "survey" / "dr10").mkdir(parents=True)
    (folder / "survey" / "dr10" / NAME).write_bytes(sweep_path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def rclone_url(rclone_folder: Path, store_credentials: dict[str, str]) -> Iterator[str]:
    keys = f"{store_credentials['AWS_ACCESS_KEY_ID']},{store_credentials['AWS_SECRET_ACCESS_KEY']}"
    program = str(Path(sys.executable).with_name("rclone"))
    arguments = ["serve", "s3", str(rclone_folder), "--auth-key", keys, "--addr", "127.0.0.1:0", "--read-only"]
    arguments += ["--dir-cache-time", "0s"]  # it shows at once what is put into its folder
    server = subprocess.Popen(
        [program, *arguments, "--config", os.devnull], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert server.stderr is not None
    found = None
    while found is None:
        line = server.stderr.readline()
        assert line, "rclone ended before it served"
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
    threading.Thread(target=server.stderr.read, daemon=True).start()
    yield found[0]
    server.terminate()
    server.wait(10)


class BreakingProxy:
    """Passes connections on to a server; the answer on connection i ends after `budgets[i]` bytes, the last for all."""

    def __init__(self, target: str, budgets: list[int], on_break: Callable[[], object] = lambda: None) -> None:
        address = urlparse(target)
        self._target = (address.hostname, address.port)
        self._budgets = budgets
        self._on_break = on_break
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        n_connections = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            budget = self._budgets[min(n_connections, len(self._budgets) - 1)]
            n_connections += 1
            threading.Thread(target=self._serve, args=(client, budget), daemon=True).start()

    def _serve(self, client: socket.socket, budget: int) -> None:
        with client, socket.create_connection(self._target) as server:
            request = client.recv(65536)
            self.requests.append(request.decode("latin-1"))
            server.sendall(request)
            while budget and (part := server.recv(min(65536, budget))):
                client.sendall(part)
                budget -= len(part)
            self._on_break()


def header(request: str, name: str) -> str | None:
    match = re.search(rf"^{name}: (.*?)\r$", request, re.IGNORECASE | re.MULTILINE)
    return match[1] if match else None


def content(source: SweepSource) -> bytes:
    with opened(source) as stream:
        return stream.read()


@pytest.mark.parametrize("kind", ["moto", "rclone"])
def test_an_object_is_listed_and_read_from_either_server(
    kind: str, moto: Store, rclone_url: str, sweep_path: Path
) -> None:
    url = {"moto": moto.url, "rclone": rclone_url}[kind]
    whole = sweep_path.read_bytes()
    for place in (ADDRESS, "s3://survey/dr10/", "s3://survey/dr10", "s3://survey/*/sweep-000*.fits"):
        (source,) = find_sources([place], url)
        assert (source.uri, source.n_bytes, source.name) == (ADDRESS, len(whole), NAME)
    assert source.etag == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert content(source) == whole
    assert sha256_of(source) == hashlib.sha256(whole).hexdigest()


def test_a_file_on_disk_has_no_etag(sweep_path: Path) -> None:
    (source,) = find_sources([str(sweep_path)])
    assert source.etag is None
    assert content(source) == sweep_path.read_bytes()


def test_wrong_keys_are_refused_in_one_line_and_none_are_named(
    rclone_url: str, monkeypatch: pytest.MonkeyPatch, database_url: URL, run_cli: RunCli
) -> None:
    (source,) = find_sources([ADDRESS], rclone_url)
    for name, value in (("AWS_SECRET_ACCESS_KEY", "wrong-secret"), ("AWS_ACCESS_KEY_ID", "stranger")):
        monkeypatch.setenv(name, value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # which remembers the keys it has used
        with pytest.raises(StorageError, match="the object store refuses") as refused:
            content(source)
        with pytest.raises(StorageError, match="the object store refuses"):
            find_sources([ADDRESS], rclone_url)
        assert "wrong-secret" not in str(refused.value)
        assert "\n" not in str(refused.value)
    done = run_cli("sweeps", "load", ADDRESS, STRONGLENS_S3_ENDPOINT_URL=rclone_url)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "the object store refuses" in done.stderr
    assert "wrong-secret" not in done.stderr


def test_a_broken_connection_is_resumed_where_it_broke(moto: Store) -> None:
    whole = moto.path.read_bytes()
    with BreakingProxy(moto.url, [100_000, 700_000, 1_500_000, 1 << 40]) as proxy:
        source = moto.source(proxy.url)
        with opened(source) as stream:
            hashed = HashedReader(stream)
            chunks = list(read_sweep(io.BufferedReader(hashed, 1 << 20)))
            assert hashed.hexdigest() == hashlib.sha256(whole).hexdigest()
        assert len(proxy.requests) == 4
        starts = [header(request, "Range") for request in proxy.requests]
        assert {header(request, "If-Match") for request in proxy.requests} == {f'"{source.etag}"'}
    assert starts[0] is None
    offsets = [int(re.fullmatch(r"bytes=(\d+)-", start or "")[1]) for start in starts[1:]]  # type: ignore[index]
    assert 0 < offsets[0] <= 100_000 < offsets[1] <= 800_000 < offsets[2] <= 2_300_000
    table = fits.getdata(moto.path, 1)
    np.testing.assert_array_equal(np.concatenate([rows.values("RA") for rows in chunks]), table["RA"])


def test_a_connection_that_breaks_again_and_again_at_one_byte_is_given_up(moto: Store) -> None:
    with BreakingProxy(moto.url, [100_000, 200]) as proxy:
        with pytest.raises(StorageError) as broken:
            content(moto.source(proxy.url))
        assert len(proxy.requests) >= object_stream.MAX_ATTEMPTS
    message = str(broken.value)
    assert message.startswith(f"{ADDRESS}: the connection broke {object_stream.MAX_ATTEMPTS} times at byte ")
    assert f" of {moto.path.stat().st_size} (" in message
    assert "\n" not in message


def test_an_object_that_changes_while_it_is_read_is_refused(moto: Store) -> None:
    def replace_object() -> None:
        moto.client.put_object(Bucket="survey", Key=f"dr10/{NAME}", Body=moto.path.read_bytes()[::-1])

    expected = pytest.raises(StorageError, match=f"{ADDRESS}: has changed since it was listed; run again")
    with BreakingProxy(moto.url, [300_000, 1 << 40], replace_object) as proxy, expected:
        content(moto.source(proxy.url))


def test_an_object_that_changed_after_it_was_listed_is_refused_and_one_that_vanished_too(moto: Store) -> None:
    source = moto.source()
    moto.client.put_object(Bucket="survey", Key=f"dr10/{NAME}", Body=b"another")
    with pytest.raises(StorageError, match="has changed since it was listed"):
        content(source)
    moto.client.delete_object(Bucket="survey", Key=f"dr10/{NAME}")
    with pytest.raises(StorageError, match=r"the object store refuses .*NoSuchKey"):
        content(source)


@dataclass
class Crude:
    """A web server that knows no conditions: how much of the body it sends, and whether it heeds `Range`."""

    body: bytes
    etag: str = "one"
    n_sent: int = 1 << 40
    heeds_range: bool = True

    def serve(self) -> ThreadingHTTPServer:
        crude = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                start = int((self.headers["Range"] or "bytes=0-")[6:-1]) if crude.heeds_range else 0
                left = crude.body[start:]
                self.send_response(206 if start else 200)
                self.send_header("ETag", f'"{crude.etag}"')
                self.send_header("Content-Length", str(len(left)))
                if start:
                    size = len(crude.body)
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.end_headers()
                self.wfile.write(left[: crude.n_sent])

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


@pytest.fixture
def crude(moto: Store) -> Iterator[Callable[..., SweepSource]]:
    """Give the moto store's source as listed, but read from a crude server."""
    servers = []

    def start(**behaviour: Any) -> SweepSource:
        servers.append(Crude(**behaviour).serve())
        return replace(moto.source(), endpoint_url=f"http://127.0.0.1:{servers[-1].server_port}", etag="one")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_bodies_shorter_than_they_say_are_put_together(crude: Callable[..., SweepSource], moto: Store) -> None:
    whole = moto.path.read_bytes()
    assert content(crude(body=whole, n_sent=400_000)) == whole


def test_a_store_that_cannot_resume_is_refused_and_no_byte_is_read_twice(
    crude: Callable[..., SweepSource], moto: Store
) -> None:
    source = crude(body=moto.path.read_bytes(), n_sent=400_000, heeds_range=False)
    with pytest.raises(StorageError, match=r"cannot read from byte 400000 on \(HTTP Range\)"):
        content(source)


@pytest.mark.parametrize("change", [{"etag": "two"}, {"body": b"shorter"}])
def test_a_store_that_heeds_no_condition_does_not_pass_off_another_object(
    crude: Callable[..., SweepSource], moto: Store, change: dict[str, Any]
) -> None:
    with pytest.raises(StorageError, match="has changed since it was listed"):
        content(crude(**{"body": moto.path.read_bytes()} | change))


def test_a_sweep_that_was_cut_before_it_came_into_the_store_is_truncated(moto: Store) -> None:
    moto.client.put_object(Bucket="survey", Key=f"dr10/{NAME}", Body=moto.path.read_bytes()[:2_000_000])
    with opened(moto.source()) as stream, pytest.raises(SweepFileError, match="header says 9000 rows, it holds 39"):
        list(read_sweep(stream))


TASK = r"""
import re, sys
from pathlib import Path
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load_file import LoadJob, work_off

work_off(LoadJob(int(sys.argv[1]), SweepLoadConfig(), sys.argv[2], sys.argv[3]))
# Not getrusage: its peak begins with that of the process that started this one.
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10)
"""


def write_large(path: Path, model: Path, n_times: int, ra_offset: float) -> None:
    """Write the rows of a plain sweep again and again, each time as bricks of their own."""
    with fits.open(model) as hdus:
        start, rows = hdus[1].fileinfo()["datLoc"], np.array(hdus[1].data.view(np.ndarray))
    n_rows, head = len(rows), model.read_bytes()[:start]
    said = b"NAXIS2  = %20d"
    rows["RA"] += ra_offset
    n_bricks = 1 + int(np.ptp(rows["BRICKID"]))
    with igzip.open(path, "wb", compresslevel=0) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(head.replace(said % n_rows, said % (n_rows * n_times)))
        for _ in range(n_times):
            file.write(rows.tobytes())
            rows["BRICKID"] += n_bricks
            rows["BRICKNAME"] = np.char.zfill(rows["BRICKID"].astype("S7"), 7)
        file.write(bytes(-n_rows * n_times * rows.itemsize % 2880))


def test_the_whole_task_of_a_large_object_takes_no_more_memory_than_that_of_a_small_one(
    engine: Engine, database_url: URL, rclone_url: str, rclone_folder: Path, sweep_files: Any, tmp_path: Path
) -> None:
    """Reading, hashing, inflating, selecting with the memory of all keys before, and COPY into a database."""
    n_rows, n_times = 20_000, 50
    made = sweep_files.make(n_rows)
    made["FLUX_Z"] = np.where(made["FLUX_Z"] > 1, 9, 0.1)  # some 300 000 are kept, of 170 bytes each
    model = sweep_files.write(tmp_path / NAME, made)
    n_kept = int(sweep_files.is_pool_galaxy(model).sum())
    begin_bulk(engine)  # of the indexes the server alone takes notice
    peaks = []
    for number, (suffix, times) in enumerate([("", 1), ("", n_times), (".gz", n_times)], start=1):
        name = f"sweep-{5 * number:03d}m005-{5 * number + 5:03d}p000.fits{suffix}"
        path = rclone_folder / "survey" / "dr10" / name
        try:
            write_large(path, model, times, 5.0 * number)
            with engine.begin() as connection:
                run_id = insert_run(connection)
            fill_queue(engine, run_id, find_sources([f"s3://survey/dr10/{name}"], rclone_url))
            arguments = [str(run_id), database_url.render_as_string(hide_password=False), rclone_url]
            done = subprocess.run(
                [sys.executable, "-c", TASK, *arguments], cwd=CHECKOUT, capture_output=True, text=True
            )
        finally:
            path.unlink(missing_ok=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout))
        entry = select(SweepFile.status, SweepFile.n_read, SweepFile.n_kept, SweepFile.error)
        with engine.connect() as connection:
            found = connection.execute(entry.where(SweepFile.name == name)).one()
        assert found == ("loaded", n_rows * times, n_kept * times, None)
    small, *large = peaks
    assert max(large) - small < 48 << 20
    assert max(large) < 300 << 20 < made.itemsize * n_rows * n_times / 1.5
