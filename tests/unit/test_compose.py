"""docker-compose.yml: its promises, and every service's command run here without containers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text
from sqlalchemy.engine import URL

from db import migrate
from db.embedded.binaries import binaries
from db.embedded.places import places
from db.engine import connectable
from db.settings import CHECKOUT

SERVICES: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
PASSWORD = "p@ss/word:with marks"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str, seconds: float = 40) -> bytes:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - our own server
                return bytes(reply.read())
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def local(command: list[str], old_port: int, port: int) -> list[str]:
    """Give a service's command with our interpreter's programs and a free port of this machine."""
    program = Path(sys.executable).with_name(command[0])
    words = [word.replace(str(old_port), str(port)).replace("0.0.0.0", "127.0.0.1") for word in command[1:]]
    return [str(program), *words]


@pytest.mark.parametrize("name", ["postgres", "s3", "dashboard"])
def test_a_lasting_service_has_a_health_check_and_a_local_port(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_services_wait_for_what_they_need() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["dashboard"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "bucket": {"condition": "service_completed_successfully"},
    }
    assert SERVICES["bucket"]["depends_on"] == {"s3": {"condition": "service_healthy"}}


def test_no_secret_has_a_default() -> None:
    secrets = [
        str(value)
        for service in SERVICES.values()
        for key, value in service.get("environment", {}).items()
        if any(word in key for word in ("PASSWORD", "SECRET", "KEY"))
    ]
    assert len(secrets) >= 4
    assert all(value.startswith("${") and ":?" in value for value in secrets)


def test_every_file_that_compose_and_the_images_name_is_there() -> None:
    for service in SERVICES.values():
        assert (CHECKOUT / service["build"] / "Dockerfile").is_file()
    assert (CHECKOUT / "db" / "serve.sh").stat().st_mode & 0o111
    for name in ("requirements.lock", "pyproject.toml"):
        assert (CHECKOUT / name).is_file()


def compose_client() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0


def test_docker_compose_reads_the_file_where_there_is_a_client() -> None:
    if not compose_client():
        return  # the tests around this one read the same file without docker
    secrets = {"POSTGRES_PASSWORD": "x", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    command = ["docker", "compose", "config", "--quiet"]
    bare = {key: value for key, value in os.environ.items() if key not in secrets}
    assert subprocess.run(command, cwd=CHECKOUT, env=bare | secrets).returncode == 0
    refused = subprocess.run(command, cwd=CHECKOUT, env=bare, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "POSTGRES_PASSWORD" in refused.stderr


@pytest.fixture
def served(tmp_path: Path) -> Iterator[int]:
    """Port of the postgres service, run by its own command."""
    command = SERVICES["postgres"]["command"]
    owner = places(tmp_path, as_root=os.geteuid() == 0).owner
    # pytest's folders are closed to the account that has to serve.
    folder = Path(tempfile.mkdtemp(prefix="stronglens-compose-"))
    shutil.copy(CHECKOUT / "db" / command[0], folder)
    for path in (folder, folder / command[0]):
        os.chown(path, owner.uid, owner.gid)
    port = free_port()
    environment = {
        "PATH": f"{binaries().folder}:{os.environ['PATH']}",
        "PGDATA": str(folder / "data"),
        "POSTGRES_PASSWORD": PASSWORD,
    }
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = {"user": owner.uid, "group": owner.gid, "extra_groups": []}
    extra = ["-c", f"port={port}", "-c", f"unix_socket_directories={folder}"]
    with running(["sh", str(folder / command[0]), *extra], env=environment, cwd=folder, **account):
        check = [str(port) if word == "5432" else word for word in SERVICES["postgres"]["healthcheck"]["test"][1:]]
        check = [word.replace("--port=5432", f"--port={port}") for word in check]
        deadline = time.monotonic() + 60
        while subprocess.run(check, capture_output=True).returncode:
            assert time.monotonic() < deadline, "the health check of postgres never passed"
            time.sleep(0.2)
        yield port
    shutil.rmtree(folder)


def test_postgres_serves_with_its_password_and_migrate_brings_it_to_head(served: int) -> None:
    url = URL.create("postgresql+psycopg", "stronglens", PASSWORD, "127.0.0.1", served, "stronglens")
    with pytest.raises(Exception, match="password"):
        connectable(url.set(database="postgres", password="wrong")).connect()
    migration = SERVICES["migrate"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "STRONGLENS_DATABASE_URL": migration["environment"]["STRONGLENS_DATABASE_URL"].replace(
            "@postgres:5432", f"@127.0.0.1:{served}"
        ),
        "PGPASSWORD": PASSWORD,
    }
    done = subprocess.run(migration["command"], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    engine = connectable(url)
    with engine.connect() as connection:
        found = connection.scalar(text("SELECT version_num FROM public.alembic_version"))
    engine.dispose()
    assert found == migrate.head()


def test_the_s3_service_answers_its_health_check() -> None:
    port = free_port()
    with running(local(SERVICES["s3"]["command"], 5000, port), stderr=subprocess.DEVNULL):
        assert b"Moto" in answers(f"http://127.0.0.1:{port}/moto-api/")
        check = [word.replace("5000", str(port)) for word in SERVICES["s3"]["healthcheck"]["test"][2:]]
        assert subprocess.run([sys.executable, *check]).returncode == 0


def test_the_bucket_service_makes_the_store_and_may_run_again() -> None:
    port = free_port()
    bucket = SERVICES["bucket"]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "STRONGLENS_STORE": bucket["environment"]["STRONGLENS_STORE"],
        "STRONGLENS_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": bucket["environment"]["AWS_DEFAULT_REGION"],
    }
    with running(local(SERVICES["s3"]["command"], 5000, port), stderr=subprocess.DEVNULL):
        answers(f"http://127.0.0.1:{port}/moto-api/")
        for _ in range(2):
            done = subprocess.run(bucket["command"], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("s3://stronglens/store")


def test_the_dashboard_service_answers_its_health_check() -> None:
    command = SERVICES["dashboard"]["command"]
    assert (CHECKOUT / command[2]).is_file()
    port = free_port()
    with running(local(command, 8501, port), cwd=CHECKOUT, stdout=subprocess.DEVNULL):
        assert answers(f"http://127.0.0.1:{port}/_stcore/health") == b"ok"
        check = [word.replace("8501", str(port)) for word in SERVICES["dashboard"]["healthcheck"]["test"][2:]]
        assert subprocess.run([sys.executable, *check]).returncode == 0
