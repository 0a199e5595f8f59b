"""The private server: made, found again, shared, recovered; each test has a cluster of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.embedded.binaries import binaries
from db.embedded.places import Account, places, private_folder
from db.embedded.processes import server_processes
from db.engine import connectable
from db.errors import ServerError
from db.settings import CHECKOUT

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedServer]:
    # Deep enough that a socket below it could not be bound: the limit is 107 bytes.
    home = tmp_path / ("long" * 30) / "with space" / "home"
    made = EmbeddedServer(home, durable=False)
    yield made
    made.remove()


def scalar(server: EmbeddedServer, statement: str) -> object:
    engine = connectable(server.url("postgres"))
    try:
        with engine.begin() as connection:
            return connection.scalar(text(statement))
    finally:
        engine.dispose()


def running_pid(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid


def wait_until_gone(server: EmbeddedServer) -> None:
    deadline = time.monotonic() + 20
    while server_processes(server.places.data) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_the_states_follow_start_and_stop_and_rows_survive(cluster: EmbeddedServer) -> None:
    assert cluster.status().state == "absent"
    cluster.stop()
    cluster.start()
    first = cluster.status()
    assert (first.state, first.major) == ("running", binaries().major)
    engine = connectable(cluster.url("postgres"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT 7 AS value"))
    engine.dispose()
    cluster.start()
    assert cluster.status().pid == first.pid
    cluster.stop()
    assert (cluster.status().state, cluster.status().pid) == ("stopped", None)
    cluster.start()
    assert scalar(cluster, "SELECT value FROM kept") == 7


def test_the_only_way_in_is_a_socket_in_a_private_folder(cluster: EmbeddedServer) -> None:
    cluster.start()
    here = cluster.places
    assert scalar(cluster, "SHOW listen_addresses") == ""
    assert len(str(here.socket / ".s.PGSQL.5432.lock")) <= 107
    for folder in (here.socket, here.data):
        found = folder.stat()
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert found.st_uid == here.owner.uid != 0
    assert scalar(cluster, "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'postgres'") == "UTF8"
    assert scalar(cluster, "SHOW lc_collate" if binaries().major < 16 else "SELECT 'C.UTF-8'") == "C.UTF-8"


def test_a_server_killed_outright_comes_back_with_what_was_committed(cluster: EmbeddedServer) -> None:
    cluster.durable = True
    cluster.start()
    engine = connectable(cluster.url("postgres"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS value"))
    engine.dispose()
    killed = running_pid(cluster)
    os.kill(killed, signal.SIGKILL)
    while cluster.status().state == "running":
        time.sleep(0.001)  # a signal takes a moment; the other processes of the server may live on
    cluster.start()
    assert running_pid(cluster) != killed
    assert scalar(cluster, "SELECT sum(value) FROM kept") == 500_500


def test_a_pid_file_that_names_a_live_stranger_does_not_block_the_start(cluster: EmbeddedServer) -> None:
    cluster.start()
    pid_file = cluster.places.data / "postmaster.pid"
    lock_file = cluster.places.socket / ".s.PGSQL.5432.lock"
    text_of_both = pid_file.read_text(), lock_file.read_text()
    killed = running_pid(cluster)
    os.kill(killed, signal.SIGKILL)
    wait_until_gone(cluster)
    owner = cluster.places.owner
    # A process of the cluster's own account: to PostgreSQL it looks like its postmaster.
    stranger = subprocess.Popen(["sleep", "60"], user=owner.uid, group=owner.gid, extra_groups=[])
    try:
        for path, body in zip((pid_file, lock_file), text_of_both, strict=True):
            path.write_text(body.replace(str(killed), str(stranger.pid), 1))
            os.chown(path, owner.uid, owner.gid)
        assert cluster.status().state == "stopped"
        cluster.stop()
        cluster.start()
        assert running_pid(cluster) != stranger.pid
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_emptied_socket_folder_is_made_again_as_after_a_reboot(cluster: EmbeddedServer) -> None:
    cluster.start()
    cluster.stop()
    shutil.rmtree(cluster.places.socket)
    cluster.start()
    assert scalar(cluster, "SELECT 1") == 1


def test_a_socket_swept_away_under_a_running_server_is_made_again(cluster: EmbeddedServer) -> None:
    cluster.start()
    shutil.rmtree(cluster.places.socket)
    cluster.start()
    assert scalar(cluster, "SELECT 1") == 1


def test_an_initdb_that_died_leaves_no_half_cluster(cluster: EmbeddedServer) -> None:
    cluster.home.mkdir(parents=True)
    here = cluster.places
    private_folder(here.root, here.owner)
    half = here.root / "data.12345"
    half.mkdir()
    (half / "PG_VERSION").write_text("15\n")
    assert cluster.status().state == "absent"
    cluster.start()
    assert scalar(cluster, "SELECT 1") == 1
    assert not half.exists()


def test_four_commands_at_once_make_one_server(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "stronglens", "db", "start"]
    environment = os.environ | {"STRONGLENS_HOME": str(home)}
    try:
        started = [
            subprocess.Popen(command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        errors = [process.communicate(timeout=120)[1] for process in started]
        assert [process.returncode for process in started] == [0] * 4, errors
        parents = [
            pid
            for pid in server_processes(EmbeddedServer(home).places.data)
            if f"PPid:\t{running_pid(EmbeddedServer(home))}\n" not in Path(f"/proc/{pid}/status").read_text()
        ]
        assert parents == [running_pid(EmbeddedServer(home))]
    finally:
        EmbeddedServer(home).remove()


def test_a_new_checkout_at_an_old_path_gets_a_database_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = EmbeddedServer(home, durable=False)
    first.start()
    engine = connectable(first.url("postgres"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE of_the_first ()"))
    engine.dispose()
    first.stop()
    old = first.places
    shutil.rmtree(home)
    second = EmbeddedServer(home, durable=False)
    try:
        second.start()
        assert scalar(second, "SELECT to_regclass('of_the_first')") is None
    finally:
        second.remove()
        shutil.rmtree(old.root, ignore_errors=True)
        shutil.rmtree(old.socket, ignore_errors=True)


def test_bootstrap_prepares_a_fresh_server_once(cluster: EmbeddedServer) -> None:
    cluster.start()
    made = ["database stronglens", "extension q3c", "role stronglens_reader", "extension pg_sphere"]
    assert bootstrap(cluster.url()) == made
    assert bootstrap(cluster.url()) == []


def test_a_plain_user_gets_a_cluster_below_home(tmp_path: Path) -> None:
    if os.geteuid() != 0:  # this very user is a plain one
        assert places(tmp_path / "home", as_root=False).root.is_relative_to(tmp_path)
        return
    home = Path("/tmp") / f"stronglens-test-{os.getpid()}" / "home"  # noqa: S108 - tmp_path is closed to others
    account = pwd.getpwnam("nobody")
    home.mkdir(parents=True)
    os.chown(home, account.pw_uid, account.pw_gid)
    child = os.fork()
    if child == 0:  # its own interpreter could not start below root's home, so this one changes its user
        status = 1
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            server = EmbeddedServer(home, durable=False)
            server.start()
            assert scalar(server, "SELECT 1") == 1
            assert server.places.data == home / "pg" / "data"
            assert server.places.socket.name.startswith(f"stronglens-{account.pw_uid}-")
            server.remove()
            status = 0
        finally:
            os._exit(status)
    try:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        shutil.rmtree(home.parent)


def test_a_folder_that_is_not_private_is_refused(tmp_path: Path) -> None:
    me = Account(os.geteuid(), os.getegid())
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    link = tmp_path / "link"
    (tmp_path / "mine").mkdir(mode=0o700)
    link.symlink_to(tmp_path / "mine")
    for folder in (open_to_all, link):
        with pytest.raises(ServerError, match=f"{folder} is not a private folder"):
            private_folder(folder, me)
    with pytest.raises(ServerError, match="is not a private folder of uid 12345"):
        private_folder(tmp_path / "mine", Account(12345, 12345))
    private_folder(tmp_path / "mine", me)


def installation(folder: Path, version: str, *, q3c: bool) -> Path:
    """Make a tree that looks like an installed PostgreSQL as far as `binaries` looks."""
    programs = folder / version / "bin"
    share = folder / version / "share"
    programs.mkdir(parents=True)
    (share / "extension").mkdir(parents=True)
    if q3c:
        (share / "extension" / "q3c.control").write_text("")
    for name in ("initdb", "pg_ctl", "postgres", "pg_config"):
        answer = f"case $1 in --version) echo PostgreSQL {version};; --sharedir) echo '{share}';; esac"
        (programs / name).write_text(f"#!/bin/sh\n{answer}\n")
        (programs / name).chmod(0o755)
    return programs


def test_the_newest_installation_with_q3c_is_taken(tmp_path: Path) -> None:
    folders = [
        installation(tmp_path, "16.4", q3c=True),
        installation(tmp_path, "15.18", q3c=True),
        installation(tmp_path, "17.2", q3c=False),
        installation(tmp_path, "14.9", q3c=True),
        tmp_path / "empty",
    ]
    assert binaries(folders=folders).major == 16
    assert binaries(15, folders).folder == tmp_path / "15.18" / "bin"


def test_missing_binaries_name_the_package_to_install(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="15 or newer with Q3C is not installed: apt-get install postgresql-15-q3c"):
        binaries(folders=[])
    old = installation(tmp_path, "14.9", q3c=True)
    with pytest.raises(ServerError, match=r"not installed \(only 14 found\)"):
        binaries(folders=[old])
    bare = installation(tmp_path, "17beta1", q3c=False)
    with pytest.raises(ServerError, match="PostgreSQL 17 lacks the Q3C extension: apt-get install postgresql-17-q3c"):
        binaries(folders=[old, bare])
    with pytest.raises(ServerError, match=r"PostgreSQL 16, which made .*: apt-get install postgresql-16-q3c"):
        binaries(16, [old, bare])


def test_a_data_directory_of_another_version_names_its_binaries(cluster: EmbeddedServer) -> None:
    cluster.start()
    cluster.stop()
    (cluster.places.data / "PG_VERSION").write_text("99\n")
    with pytest.raises(ServerError, match="PostgreSQL 99, which made this checkout's data directory"):
        cluster.start()
    (cluster.places.data / "PG_VERSION").write_text(f"{binaries().major}\n")


def test_a_server_that_cannot_start_says_why_in_one_line(cluster: EmbeddedServer) -> None:
    cluster.start()
    cluster.stop()
    with (cluster.places.data / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")
    with pytest.raises(ServerError, match="pg_ctl failed") as caught:
        cluster.start()
    assert "\n" not in str(caught.value)
    assert str(cluster.places.log) in str(caught.value)


def test_the_commands_start_use_and_stop_it(run_cli: RunCli, tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "home")
    try:
        assert run_cli("db", "status").returncode == 3
        asked = run_cli("db", "psql", "--", "-Atc", "SELECT extname FROM pg_extension WHERE extname = 'q3c'")
        assert (asked.returncode, asked.stdout) == (0, "q3c\n"), asked.stderr
        assert run_cli("db", "status").stdout.startswith("running: embedded server, PostgreSQL ")
        url = run_cli("db", "url").stdout.strip()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("stronglens",)
        refused = run_cli("db", "check")
        assert refused.returncode == 1
        assert "no schema" in refused.stderr
        assert "stronglens db upgrade" in refused.stderr
        assert run_cli("db", "stop").stdout == "stopped\n"
        assert run_cli("db", "status").stdout.startswith("stopped: ")
    finally:
        server.remove()


def test_a_removed_cluster_leaves_nothing_behind(cluster: EmbeddedServer) -> None:
    cluster.remove()
    cluster.start()
    here = cluster.places
    cluster.remove()
    assert not here.root.exists()
    assert not here.socket.exists()
    assert cluster.status().state == "absent"
