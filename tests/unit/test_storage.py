"""Stores: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import io
import os
import pickle
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from etl.errors import StorageError
from etl.storage import AbsentError, LocalStore, Store, open_store, s3


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"lenses-{os.urandom(4).hex()}"
    boto3.client("s3", endpoint_url=s3_endpoint).create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, s3_endpoint: str, bucket: str) -> Store:
    uri = str(tmp_path / "store") if request.param == "folder" else f"s3://{bucket}/some/prefix"
    return open_store(uri, s3_endpoint)


def test_bytes_come_back_by_key_and_by_address(store: Store) -> None:
    uri = store.put_bytes("cutouts/positives/v1/a+b.npz", b"one")
    assert uri == store.uri("cutouts/positives/v1/a+b.npz") == store.uri(uri)
    assert store.get_bytes(uri) == store.get_bytes("cutouts/positives/v1/a+b.npz") == b"one"
    assert store.put_bytes(uri, b"two") == uri
    assert store.get_bytes(uri) == b"two"


def test_keys_and_existence_follow_what_was_written(store: Store) -> None:
    assert store.keys("cutouts/") == set()
    assert not store.exists("cutouts/v1/a")
    for key in ("cutouts/v1/a", "cutouts/v1/ab", "cutouts/v2/a"):
        store.put_bytes(key, b"x")
    assert store.keys("cutouts/v1/") == {"cutouts/v1/a", "cutouts/v1/ab"}
    assert store.exists("cutouts/v1/a")
    assert not store.exists("cutouts/v1/abc")
    assert not store.exists("cutouts/v1")


def test_a_stat_tells_size_and_a_version_that_changes_with_the_object(store: Store) -> None:
    assert store.stat("a/b") is None
    store.put_bytes("a/bc", b"another that begins alike")
    assert store.stat("a/b") is None
    store.put_bytes("a/b", b"one")
    first = store.stat("a/b")
    assert first is not None
    assert first.n_bytes == 3
    assert store.stat("a/b") == first
    time.sleep(0.02)  # the clock of a file system ticks every few milliseconds
    store.put_bytes("a/b", b"two")
    second = store.stat("a/b")
    assert second is not None
    assert second.n_bytes == 3
    assert second.version != first.version


def test_sizes_are_listed_below_a_prefix_and_below_the_root(store: Store) -> None:
    for key, data in (("a/b/c", b"12"), ("a/d", b""), ("e", b"1")):
        store.put_bytes(key, data)
    assert store.sizes("a/") == {"a/b/c": 2, "a/d": 0}
    assert store.sizes("") == {"a/b/c": 2, "a/d": 0, "e": 1}
    assert store.sizes("none/") == {}


def test_a_stream_is_written_whole_or_not_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 << 20)
    data = os.urandom(11 << 20)
    for size in (0, 3, 5 << 20, 11 << 20):
        uri = store.put_stream(f"streams/{size}", io.BytesIO(data[:size]))
        assert store.get_bytes(uri) == data[:size]
        with store.open(uri) as stream:
            assert b"".join(iter(partial(stream.read, 1 << 20), b"")) == data[:size]

    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 8 << 20:
                raise StorageError("broken")
            return super().read(size)

    with pytest.raises(StorageError, match="broken"):
        store.put_stream("streams/0", Breaks(data))
    assert store.get_bytes("streams/0") == b""
    assert store.leftovers("streams/") == set()


def test_an_object_is_deleted_once_and_again(store: Store) -> None:
    store.put_bytes("a/b", b"x")
    store.delete("a/b")
    store.delete("a/b")
    assert store.keys("a/") == set()


def test_an_absent_object_is_one_line_that_names_it(store: Store) -> None:
    with pytest.raises(AbsentError, match=r"cutouts/none\.npz") as caught:
        store.get_bytes("cutouts/none.npz")
    assert "\n" not in str(caught.value)


def test_a_store_works_in_another_process(store: Store) -> None:
    uri = store.put_bytes("a", b"x")
    assert pickle.loads(pickle.dumps(store)).get_bytes(uri) == b"x"  # noqa: S301 - our own bytes


def test_the_addresses_of_a_folder_survive_its_move(tmp_path: Path) -> None:
    uri = open_store(str(tmp_path / "old")).put_bytes("cutouts/a", b"x")
    (tmp_path / "old").rename(tmp_path / "new")
    assert open_store(str(tmp_path / "new")).get_bytes(uri) == b"x"
    assert str(tmp_path) not in uri


def test_a_write_that_fails_leaves_the_old_object_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("a/b", b"old")

    def refuse(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match="No space left"):
        store.put_bytes("a/b", b"new")
    assert store.get_bytes("a/b") == b"old"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_keys_cannot_leave_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for key in ("../secret", "/etc/hostname", "a/../../b", ""):
        with pytest.raises(StorageError, match="outside the store"):
            store.get_bytes(key)


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="cannot be written"):
        open_store(str(tmp_path / "file")).put_bytes("a", b"x")


def test_an_address_of_another_store_is_refused(tmp_path: Path, bucket: str, s3_endpoint: str) -> None:
    with pytest.raises(StorageError, match="is not in the store"):
        open_store(str(tmp_path)).get_bytes("s3://other/a")
    here = open_store(f"s3://{bucket}/p", s3_endpoint)
    here.put_bytes("a", b"x")
    assert here.get_bytes("store:a") == b"x"  # relative to whatever store it is
    for uri in ("s3://other/p/a", f"s3://{bucket}/q/a"):
        with pytest.raises(StorageError, match="is not in the store"):
            here.get_bytes(uri)


def test_a_wrong_bucket_and_an_unreachable_server_are_one_line(s3_endpoint: str, bucket: str) -> None:
    for uri, endpoint, words in (
        ("s3://there-is-no-such-bucket/p", s3_endpoint, "there is no such bucket"),
        ("s3://b/p", "not a url", "STRONGLENS_S3_ENDPOINT_URL"),
    ):
        store = open_store(uri, endpoint)
        for action in (store.get_bytes, partial(store.put_bytes, data=b""), store.keys):
            with pytest.raises(StorageError, match=words) as caught:
                action("a/")
            assert "\n" not in str(caught.value)


def test_an_address_without_bucket_or_of_another_scheme_is_refused() -> None:
    for uri in ("s3://", "gs://b/p", "https://", ""):
        with pytest.raises(StorageError, match="expected"):
            open_store(uri)
