"""What copies and writes survive: kills, full disks, damaged sources, object stores that fail now and then."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from sqlalchemy import Engine, text
from werkzeug.serving import make_server

from etl.errors import StorageError
from etl.storage import object_stream as streams
from etl.storage import open_store, s3
from etl.storage.listing import Selection, load_listing
from etl.storage.store import Store
from etl.storage.sync import SyncOptions, SyncResult, plan_sync, sync
from tests.etl.small_disk import NAMESPACES, cramped
from tests.etl.store_world import World, found_in, record_cutouts, record_model_and_pack

RunCli = Callable[..., subprocess.CompletedProcess[str]]
STRONGLENS = [sys.executable, "-m", "stronglens"]


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(tmp_path / "store")
    record_model_and_pack(engine, made, record_cutouts(engine, made, 40, n_bytes=20_000))
    return made


def whole(world: World) -> dict[str, str]:
    return {key: hashlib.sha256(data).hexdigest() for key, data in world.files.items()}


def synced(engine: Engine, source: Store, target: Store) -> SyncResult:
    with engine.connect() as connection:
        listing = load_listing(connection, source, Selection())
    options = SyncOptions(n_workers=4)
    return sync(listing, plan_sync(listing, source, target, options), (source, target), options)


def test_a_sync_that_is_killed_goes_on_and_ends_whole(engine: Engine, run_cli: RunCli, tmp_path: Path) -> None:
    world, copy = World(tmp_path / "store"), tmp_path / "copy"
    record_cutouts(engine, world, 1200, n_bytes=30_000)
    command = [*STRONGLENS, "store", "sync", str(world.root), str(copy), "--workers", "2"]
    victim = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = copy / "cutouts/negatives/v1"
    deadline = time.monotonic() + 60
    while not folder.is_dir() or sum(1 for _ in folder.iterdir()) < 100:
        assert time.monotonic() < deadline
        assert victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    left = found_in(copy)
    there = {key: data for key, data in left.items() if ".part-" not in key}
    assert 0 < len(there) < len(world.files)
    assert there.items() <= world.files.items()
    done = run_cli("store", "sync", str(world.root), str(copy), "--delete")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(world.files) - len(there):,} files copied" in done.stdout
    assert f"{len(left) - len(there)} files of DST deleted" in done.stdout
    assert found_in(copy) == world.files


def test_a_disk_that_gets_full_is_one_line_and_leaves_only_whole_files(world: World, tmp_path: Path) -> None:
    small = tmp_path / "small"
    command = [*STRONGLENS, "store", "sync", str(world.root), str(small)]
    tale = cramped(small, n_bytes=400_000, file_bytes=30_000, command=command)
    first, second = tale["runs"]
    assert first["status"] == 1
    assert first["stderr"].startswith(f"error: {small}/")
    assert tale["refusal"] in first["stderr"]
    assert first["stderr"].count("\n") == 1
    assert 0 < len(first["files"]) < len(world.files)
    assert first["files"].items() <= whole(world).items()
    assert (second["status"], second["stderr"]) == (0, "")
    assert second["files"] == whole(world)


@pytest.mark.parametrize("namespaces", [NAMESPACES, ()], ids=["where we may mount", "where we may not"])
def test_a_cutout_that_finds_no_room_leaves_nothing_and_the_next_writing_does(
    namespaces: Sequence[list[str]], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    code = f"""
import sys
from etl.errors import StorageError
from etl.storage import open_store
store = open_store({str(small)!r})
for number in range(8):
    try:
        store.put_bytes(f"cutouts/negatives/v1/{{number}}.npz", bytes([number]) * (40_000 + 2_000 * number))
    except StorageError as exc:
        print(exc, file=sys.stderr)
        sys.exit(1)
"""
    tale = cramped(small, 200_000, 50_000, [sys.executable, "-c", code], namespaces)
    first, second = tale["runs"]
    assert first["status"] == 1, first["stderr"]
    assert first["stderr"].startswith(f"{small}/cutouts/negatives/v1/")
    assert first["stderr"].endswith(f"cannot be written ({tale['refusal']})\n")
    assert (second["status"], len(second["files"])) == (0, 8)
    assert first["files"].items() < second["files"].items()


def test_damaged_sources_are_named_and_never_copied(engine: Engine, world: World, tmp_path: Path) -> None:
    missing, short, long, other, folder, *_ = sorted(world.files)
    (world.root / missing).unlink()
    (world.root / short).write_bytes(world.files[short][:-1])
    (world.root / long).write_bytes(world.files[long] + b"x")
    flipped = bytearray(world.files[other])
    flipped[1000] ^= 1
    (world.root / other).write_bytes(bytes(flipped))
    (world.root / folder).unlink()
    (world.root / folder).mkdir()
    copy = tmp_path / "copy"
    (copy / short).parent.mkdir(parents=True)
    (copy / short).write_bytes(b"an older one")
    result = synced(engine, open_store(str(world.root)), open_store(str(copy)))
    assert {(finding.kind, finding.key) for finding in result.findings} == {
        ("missing", missing), ("truncated", short), ("altered", long), ("altered", other), ("unreadable", folder),
    }  # fmt: skip
    for finding in result.findings:
        assert finding.key in finding.reason
        assert "\n" not in finding.reason
    bad = {missing, short, long, other, folder}
    good = {key: data for key, data in world.files.items() if key not in bad}
    assert found_in(copy) == good | {short: b"an older one"}


def test_a_source_that_cannot_be_read_at_all_stops_the_sync(engine: Engine, tmp_path: Path) -> None:
    world = World(tmp_path / "store")
    record_cutouts(engine, world, 300, n_bytes=10)
    for key in world.files:
        (world.root / key).unlink()
        (world.root / key).mkdir()
    with pytest.raises(StorageError, match=r"100 objects cannot be read, stopped; the last: .*Is a directory"):
        synced(engine, open_store(str(world.root)), open_store(str(tmp_path / "copy")))


Environ = dict[str, Any]
Wsgi = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Unsteady:
    """An object store that does wrong what `wrong` says of a request's number, and the rest right."""

    def __init__(self, wrong: Callable[[int, Environ], str | None]) -> None:
        self._app: Wsgi = DomainDispatcherApplication(create_backend_app)
        self._wrong = wrong
        self._lock = threading.Lock()
        self.n_requests = self.n_wrong = 0

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.n_requests += 1
            how = self._wrong(self.n_requests, environ)
            self.n_wrong += how is not None
        if how == "error":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        body = b"".join(self._app(environ, start_response))
        return [body[: len(body) // 2] if how == "short" else body]


@contextmanager
def served(app: Unsteady) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def impatient(store_credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait hardly at all before the next attempt."""
    from botocore.retries import standard

    for name, value in store_credentials.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(streams, "RETRY_WAIT_S", 0.001)
    monkeypatch.setattr(standard.ExponentialBackoff, "delay_amount", lambda _self, _context: 0.001)


@pytest.mark.usefixtures("impatient")
def test_an_object_store_that_fails_now_and_then_loses_nothing(engine: Engine, world: World, tmp_path: Path) -> None:
    def wrong(number: int, environ: Environ) -> str | None:
        if number % 3 == 0:
            return "error"
        return (
            "short"
            if number % 5 == 0 and environ["REQUEST_METHOD"] == "GET" and "list-type" not in environ["QUERY_STRING"]
            else None
        )

    app = Unsteady(wrong)
    here, copy = open_store(str(world.root)), open_store(str(tmp_path / "copy"))
    with served(app) as url:
        there = open_store("s3://unsteady/p", url)
        there.create()
        up = synced(engine, here, there)
        down = synced(engine, there, copy)
    assert app.n_wrong > 20
    assert (up.n_copied, down.n_copied, up.findings, down.findings) == (len(world.files), len(world.files), [], [])
    assert found_in(tmp_path / "copy") == world.files | {".mirror-of": b"s3://unsteady/p\n"}


@pytest.mark.usefixtures("impatient")
def test_an_object_store_that_fails_for_good_is_one_line_and_the_next_sync_goes_on(
    engine: Engine, world: World
) -> None:
    app = Unsteady(lambda number, _environ: "error" if number > 20 else None)
    here = open_store(str(world.root))
    with served(app) as url:
        there = open_store("s3://failing/p", url)
        there.create()
        with pytest.raises(StorageError, match=r"^s3://failing/p/.*the object store answers 500") as caught:
            synced(engine, here, there)
        assert "\n" not in str(caught.value)
        app.n_requests = -1_000_000
        n_there = len(there.keys(""))
        assert 0 < n_there < len(world.files)
        assert synced(engine, here, there).n_copied == len(world.files) - n_there
        assert {key: there.get_bytes(key) for key in there.keys("")} == world.files


@pytest.mark.usefixtures("impatient")
def test_a_large_object_that_turns_out_altered_is_not_put(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, world: World
) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
    data = world.write("packs/d/default/shard-0.npy", os.urandom(12 << 20))
    with engine.begin() as connection:
        connection.execute(text("UPDATE imaging.pack_shard SET sha256 = :sha256, n_bytes = :n_bytes"), data)
    altered = bytearray(world.files["packs/d/default/shard-0.npy"])
    altered[-1] ^= 1
    (world.root / "packs/d/default/shard-0.npy").write_bytes(bytes(altered))
    with served(Unsteady(lambda _number, _environ: None)) as url:
        there = open_store("s3://large/p", url)
        there.create()
        result = synced(engine, open_store(str(world.root)), there)
        uploads = boto3.client("s3", endpoint_url=url).list_multipart_uploads(Bucket="large")
        assert [finding.kind for finding in result.findings] == ["altered"]
        assert there.keys("packs/") == {"packs/d/default/index.parquet"}
        assert "Uploads" not in uploads
        (world.root / "packs/d/default/shard-0.npy").write_bytes(world.files["packs/d/default/shard-0.npy"])
        assert synced(engine, open_store(str(world.root)), there).n_copied == 1
        assert there.get_bytes("packs/d/default/shard-0.npy") == world.files["packs/d/default/shard-0.npy"]
