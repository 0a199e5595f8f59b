"""What every test may ask for: a real server, a database of its own, the command line, and the shared real data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL

from db import migrate
from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.engine import connectable
from db.settings import CHECKOUT

RunCli = Callable[..., subprocess.CompletedProcess[str]]
TEMPLATE = "template_stronglens"


@pytest.fixture(autouse=True)
def _private_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the database and the files of the person who runs it."""
    for name in ("STRONGLENS_DATABASE_URL", "STRONGLENS_STORE", "STRONGLENS_S3_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STRONGLENS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real public data; tests that need it are skipped, loudly, where it is absent."""
    folder = Path(os.environ.get("STRONGLENS_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"REAL DATA ABSENT: {folder} is not there (STRONGLENS_TEST_DATA names another place)")
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server for the whole session that flushes nothing to disk."""
    made = EmbeddedServer(tmp_path_factory.mktemp("server"), durable=False)
    made.start()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def template_database(server: EmbeddedServer) -> str:
    """Name of a database that the real migrations brought to head; tests get copies."""
    url = server.url(TEMPLATE)
    bootstrap(url)
    engine = connectable(url)
    migrate.upgrade(engine)
    engine.dispose()
    return TEMPLATE


@pytest.fixture
def new_database(server: EmbeddedServer) -> Iterator[Callable[[str], URL]]:
    """Make databases from a template, and drop them at the end."""
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make(template: str) -> URL:
        name = f"test_{os.getpid()}_{len(made)}_{os.urandom(4).hex()}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        made.append(name)
        return server.url(name)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database_url(template_database: str, new_database: Callable[[str], URL], monkeypatch: pytest.MonkeyPatch) -> URL:
    """URL of an empty database at head, also set in the environment for commands."""
    url = new_database(template_database)
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url.render_as_string(hide_password=False))
    return url


@pytest.fixture
def engine(database_url: URL) -> Iterator[Engine]:
    """Engine of an empty database at head."""
    made = connectable(database_url)
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back at the end."""
    with engine.connect() as made:
        transaction = made.begin()
        yield made
        transaction.rollback()


@pytest.fixture
def run_cli() -> RunCli:
    """Run `stronglens` with some arguments as a process of its own."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stronglens", *arguments],
            cwd=CHECKOUT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
