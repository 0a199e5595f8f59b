"""Copies of a store, and its files held against the database."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
import typer
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from db.errors import StronglensError
from etl.storage import commands, open_store
from etl.storage.listing import Selection, folders, load_listing
from etl.storage.progress import progress
from etl.storage.threads import in_threads
from tests.builders import insert_galaxies
from tests.etl.store_world import World, found_in, record_cutouts, record_model_and_pack

RunCli = Callable[..., subprocess.CompletedProcess[str]]
N_CUTOUTS = 40


@pytest.fixture
def run_here() -> RunCli:
    """Run `stronglens` within this process, which is faster than `run_cli`."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        root = typer.Typer()
        commands.register(root)
        root.callback()(lambda: None)
        done = CliRunner().invoke(root, list(arguments))
        if isinstance(done.exception, StronglensError):
            return subprocess.CompletedProcess(arguments, 1, done.stdout, f"error: {done.exception}\n")
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(tmp_path / "store")
    record_model_and_pack(engine, made, record_cutouts(engine, made, N_CUTOUTS))
    return made


@pytest.fixture
def sync(run_here: RunCli, world: World, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return partial(run_here, "store", "sync", str(world.root), str(tmp_path / "copy"))


@pytest.fixture
def verify(run_here: RunCli, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    return partial(run_here, "store", "verify", str(tmp_path / "copy"))


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, store_credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in store_credentials.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STRONGLENS_S3_ENDPOINT_URL", s3_endpoint)
    name = f"lenses-{os.urandom(4).hex()}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=name)
    return name


def test_a_copy_holds_every_recorded_file_and_nothing_else(
    sync: RunCli, verify: RunCli, world: World, tmp_path: Path
) -> None:
    (world.root / "cutouts/negatives/v1/unrecorded.npz").write_bytes(b"x")
    planned = sync("--dry-run")
    assert f"would copy {len(world.files)} and check 0 files" in planned.stdout
    assert not (tmp_path / "copy").exists()
    done = sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(world.files)} files copied" in done.stdout
    assert "1 other files in the same folders of SRC left" in done.stdout
    assert found_in(tmp_path / "copy") == world.files
    checked = verify()
    assert checked.returncode == 0
    assert checked.stdout.endswith("every recorded file is there and whole\n")


def test_a_second_sync_copies_only_what_is_missing_or_of_another_size(
    sync: RunCli, world: World, tmp_path: Path
) -> None:
    sync()
    copy = tmp_path / "copy"
    first, second, third, fourth = sorted(world.files)[:4]
    (copy / first).unlink()
    (copy / second).write_bytes(world.files[second][:-1])
    (copy / third).write_bytes(b"y" * len(world.files[third]))
    untouched = (copy / fourth).stat().st_mtime_ns
    done = sync()
    assert "2 files copied" in done.stdout
    assert f"{len(world.files) - 2} files were there in the right size" in done.stdout
    wrong = {key for key, data in found_in(copy).items() if data != world.files[key]}
    assert wrong == {third}
    done = sync("--checksum")
    assert "1 files copied" in done.stdout
    assert f"{len(world.files) - 1} files were there with the right SHA-256" in done.stdout
    assert found_in(copy) == world.files
    assert (copy / fourth).stat().st_mtime_ns == untouched


def test_a_copy_of_a_draw_leaves_quarantined_cutouts_and_unfinished_packs(
    sync: RunCli, world: World, engine: Engine, tmp_path: Path
) -> None:
    lost, *_ = sorted(key for key in world.files if key.startswith("cutouts/"))
    (world.root / lost).unlink()
    assert sync("--draw", "d").returncode == 1
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO imaging.quarantine (cutout_id, reason, detail, run_id) "
                "SELECT cutout_id, 'missing', 'x', run_id FROM imaging.cutout WHERE uri = :uri"
            ),
            {"uri": f"store:{lost}"},
        )
        connection.execute(
            text(
                "UPDATE imaging.pack SET status = 'writing', index_uri = NULL, index_sha256 = NULL, "
                "index_n_bytes = NULL"
            )
        )
    done = sync("--draw", "d", "--delete")
    assert (done.returncode, done.stderr) == (0, "")
    packed = {key for key in world.files if key.startswith("packs/")}
    assert set(found_in(tmp_path / "copy")) - packed == set(world.files) - packed - {lost}


def test_a_selection_takes_a_prefix_a_version_or_a_draw(
    engine: Engine, world: World, sync: RunCli, tmp_path: Path
) -> None:
    store = open_store(str(world.root))

    def keys(**selection: str) -> set[str]:
        with engine.connect() as connection:
            return set(load_listing(connection, store, Selection(**selection)))

    cutouts = {key for key in world.files if key.startswith("cutouts/")}
    assert keys() == keys(draw="d") == keys(cutout_version="v1") == set(world.files)
    assert keys(cutout_version="v2") == set()
    with engine.begin() as connection:
        connection.execute(text("UPDATE imaging.cutout SET version = 'v2' WHERE right(uri, 6) = '_7.npz'"))
    (seventh,) = keys(cutout_version="v2", draw="d")
    assert seventh.endswith("_7.npz")
    assert keys(cutout_version="v1", prefix="cutouts/") == cutouts - {seventh}
    with engine.begin() as connection:
        lone_galaxy = insert_galaxies(connection, 11.0, 1.0)
        connection.execute(
            text("UPDATE imaging.cutout SET ls_id = :ls_id WHERE right(uri, 6) = '_7.npz'"),
            {"ls_id": int(lone_galaxy[0])},
        )
    assert keys(draw="d") == set(world.files) - {seventh}
    done = sync("--prefix", "checkpoints/")
    assert set(found_in(tmp_path / "copy")) == {"checkpoints/m.pt"}
    assert "1 files copied" in done.stdout
    for arguments, words in ((("--draw", "e"), "there is no draw 'e'"), (("--prefix", "no/"), "records no object")):
        refused = sync(*arguments)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_nothing_is_deleted_without_delete_and_only_beside_what_is_copied_with_it(
    sync: RunCli, world: World, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    strange = {
        "cutouts/negatives/v1/strange.npz": b"1",
        "cutouts/negatives/v1/.part-abc": b"2",
        "cutouts/negatives/v0/old.npz": b"3",
        "notes.txt": b"4",
    }
    for key, data in strange.items():
        (copy / key).parent.mkdir(parents=True, exist_ok=True)
        (copy / key).write_bytes(data)
    sync()
    assert found_in(copy) == world.files | strange
    assert "would delete 2 files" in sync("--delete", "--dry-run").stdout
    assert found_in(copy) == world.files | strange
    assert "2 files of DST deleted" in sync("--delete").stdout
    assert found_in(copy) == world.files | dict(list(strange.items())[2:])


def test_nothing_is_deleted_while_the_source_lacks_something(sync: RunCli, world: World, tmp_path: Path) -> None:
    lost = min(world.files)
    (world.root / lost).unlink()
    strange = tmp_path / "copy/cutouts/negatives/v1/strange.npz"
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"1")
    done = sync("--delete")
    assert done.returncode == 1
    assert "nothing was deleted" in done.stderr
    assert strange.exists()


def test_verify_names_what_is_missing_truncated_altered_and_unknown(
    sync: RunCli, verify: RunCli, world: World, tmp_path: Path
) -> None:
    sync()
    copy = tmp_path / "copy"
    missing, short, long, other, *_ = sorted(world.files)
    (copy / missing).unlink()
    (copy / short).write_bytes(world.files[short][:100])
    (copy / long).write_bytes(world.files[long] + b"x")
    (copy / other).write_bytes(b"x" * len(world.files[other]))
    (copy / "cutouts/positives").mkdir()
    (copy / "cutouts/positives/extra.npz").write_bytes(b"")
    (copy / "checkpoints/.part-x").write_bytes(b"")
    before = found_in(copy)
    report = tmp_path / "reports" / "report.csv"
    done = verify("--report", str(report))
    assert done.returncode == 1
    for line in ("altered: 2", "missing: 1", "truncated: 1"):
        assert line in done.stderr
    assert missing in done.stderr
    assert "extra: 1" in done.stdout
    assert "left over: 1" in done.stdout
    with report.open(newline="") as file:
        rows = {(row["kind"], row["key"]) for row in csv.DictReader(file)}
    assert rows == {
        ("missing", missing), ("truncated", short), ("altered", long), ("altered", other),
        ("extra", "cutouts/positives/extra.npz"), ("left over", "checkpoints/.part-x"),
    }  # fmt: skip
    assert found_in(copy) == before
    fast = verify("--fast")
    assert fast.returncode == 1
    assert "altered: 1" in fast.stderr


def test_files_that_no_row_knows_are_no_failure(sync: RunCli, verify: RunCli, world: World, tmp_path: Path) -> None:
    sync()
    (tmp_path / "copy/cutouts/negatives/v1/extra.npz").write_bytes(b"")
    done = verify("--fast")
    assert (done.returncode, done.stderr) == (0, "")
    assert "extra: 1" in done.stdout
    # Recorded files are no extras because they are not of the selection.
    assert "extra: 1" in verify("--prefix", "cutouts/negatives/v1/0100p010_1").stdout


def test_a_store_goes_to_s3_and_comes_back_whole(
    run_here: RunCli, world: World, bucket: str, tmp_path: Path, engine: Engine
) -> None:
    there = f"s3://{bucket}/some/prefix"
    big = world.write("checkpoints/m.pt", os.urandom(40 << 20))
    with engine.begin() as connection:
        connection.execute(text("UPDATE training.model SET checkpoint_sha256 = :sha256"), big)
        connection.execute(
            text("UPDATE provenance.artifact SET sha256 = :sha256, n_bytes = :n_bytes WHERE n_bytes = 900"), big
        )
    up = run_here("store", "sync", str(world.root), there)
    assert (up.returncode, up.stderr) == (0, "")
    assert run_here("store", "verify", there).returncode == 0
    down = run_here("store", "sync", there, str(tmp_path / "copy"))
    assert (down.returncode, down.stderr) == (0, "")
    assert found_in(tmp_path / "copy") == world.files | {".mirror-of": f"{there}\n".encode()}
    store = open_store(there, os.environ["STRONGLENS_S3_ENDPOINT_URL"])
    store.delete(min(world.files))
    again = run_here("store", "verify", there, "--fast")
    assert again.returncode == 1
    assert "missing: 1" in again.stderr


def test_a_copy_answers_to_the_addresses_of_its_bucket_and_to_no_other(
    engine: Engine, run_here: RunCli, world: World, bucket: str, tmp_path: Path
) -> None:
    there, copy = f"s3://{bucket}/p", tmp_path / "copy"
    assert run_here("store", "sync", str(world.root), there).returncode == 0
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE imaging.cutout SET uri = replace(uri, 'store:', :there)"), {"there": f"{there}/"}
        )
    assert run_here("store", "sync", there, str(copy), "--draw", "d").returncode == 0
    key = min(world.files)
    for uri in (f"{there}/{key}", f"store:{key}", key):
        assert open_store(str(copy)).get_bytes(uri) == world.files[key]
    assert run_here("store", "verify", str(copy)).returncode == 0
    # A copy of the copy is one of the bucket.
    assert run_here("store", "sync", str(copy), str(tmp_path / "third")).returncode == 0
    assert open_store(str(tmp_path / "third")).get_bytes(f"{there}/{key}") == world.files[key]
    refused = run_here("store", "verify", str(world.root))
    assert refused.returncode == 1
    assert "is not in the store" in refused.stderr
    boto3.client("s3", endpoint_url=os.environ["STRONGLENS_S3_ENDPOINT_URL"]).create_bucket(Bucket=f"{bucket}-2")
    other = f"s3://{bucket}-2/p"
    assert run_here("store", "sync", there, other).returncode == 0
    assert run_here("store", "verify", other).returncode == 0


def test_a_web_server_is_a_source(run_here: RunCli, world: World, tmp_path: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(world.root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    done = run_here("store", "sync", f"http://127.0.0.1:{server.server_port}", str(tmp_path / "copy"))
    server.shutdown()
    assert (done.returncode, done.stderr) == (0, "")
    assert found_in(tmp_path / "copy") == world.files


def test_source_and_target_must_be_two_places_that_can_be_written(run_here: RunCli, world: World) -> None:
    for target, words in (
        (f"{world.root}/", "is both source and target"),
        ("https://127.0.0.1/x", "lists no files"),
        ("gs://b/p", "expected a folder"),
    ):
        done = run_here("store", "sync", str(world.root), target)
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_store_of_the_settings_is_made_once_and_again(
    run_here: RunCli, monkeypatch: pytest.MonkeyPatch, bucket: str, tmp_path: Path
) -> None:
    for place in (str(tmp_path / "a" / "b"), f"s3://{bucket}-new/p"):
        monkeypatch.setenv("STRONGLENS_STORE", place)
        for _ in range(2):
            done = run_here("store", "create")
            assert (done.returncode, done.stdout.rstrip("/\n")) == (0, place)
        assert open_store(place, os.environ["STRONGLENS_S3_ENDPOINT_URL"]).keys("cutouts/") == set()
    assert (tmp_path / "a" / "b").is_dir()


def test_folders_of_keys_are_the_outermost() -> None:
    keys = ["cutouts/a/x", "cutouts/a/b/y", "cutouts/ab/z", "packs/p"]
    assert folders(keys) == ["cutouts/a/", "cutouts/ab/", "packs/"]
    assert folders([*keys, "top"]) == [""]
    assert folders([]) == []


def test_threads_give_every_result_once_and_raise_what_a_piece_raises() -> None:
    assert sorted(in_threads(lambda n: n * n, range(1000), 4)) == [n * n for n in range(1000)]
    begun = []

    def work(n: int) -> int:
        begun.append(n)
        if n == 3:
            raise ValueError(n)
        return n

    with pytest.raises(ValueError, match="3"):
        list(in_threads(work, range(10_000), 2))
    assert len(begun) < 100


def test_the_digest_of_a_copy_is_the_one_that_hashlib_takes(world: World, engine: Engine) -> None:
    with engine.connect() as connection:
        listing = load_listing(connection, open_store(str(world.root)), Selection())
    assert {key: recorded.sha256 for key, recorded in listing.items()} == {
        key: hashlib.sha256(data).hexdigest() for key, data in world.files.items()
    }


def test_whoever_watches_sees_files_bytes_rate_and_time_to_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich can tell
    monkeypatch.setenv("COLUMNS", "160")
    with progress("sync") as watch:
        watch.expect(3, 4_000_000)
        for _ in range(2):
            watch.bytes_done(1_000_000)
            watch.file_done()
            time.sleep(0.15)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "2/3 files" in shown
    assert "2.0/4.0 MB" in shown
    assert re.search(r"\d MB/s", shown)
    assert re.search(r"\d:\d\d:\d\d", shown)
