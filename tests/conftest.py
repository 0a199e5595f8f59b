"""What every test may ask for: a real server, a database of its own, the command line, and the shared real data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
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


@pytest.fixture(scope="session")
def scratch_engine(server: EmbeddedServer, template_database: str) -> Iterator[Engine]:
    """Engine of one empty database at head for all tests that roll back what they write."""
    url = server.url("scratch")
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE scratch TEMPLATE {template_database}"))
    admin.dispose()
    made = connectable(url)
    yield made
    made.dispose()


@pytest.fixture
def connection(scratch_engine: Engine) -> Iterator[Connection]:
    """A connection in a transaction that is rolled back at the end."""
    with scratch_engine.connect() as made:
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


@dataclass(frozen=True)
class Populated:
    """A database and a store that the real stages filled from a tiny mock sky."""

    url: URL
    engine: Engine
    store: Path
    model: str = "tiny"
    control: str = "tiny-shuffled"
    draw: str = "default"


PIPELINE = "template_pipeline"
TINY_SKY = {"n_tier_a": 70, "n_tier_b": 70}
TINY_RECIPE = {"name": "tiny", "epochs": 1, "epoch_images": 1536, "batch_size": 32, "warmup_fraction": 0.0}


@pytest.fixture(scope="session")
def pipeline(server: EmbeddedServer, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Home of a whole `stronglens demo` on a tiny sky; its database is the template of `populated`."""
    home = tmp_path_factory.mktemp("pipeline")
    recipe = yaml.safe_load((CHECKOUT / "training" / "configs" / "demo.yaml").read_text()) | TINY_RECIPE
    config = {"sky_config": str(home / "sky.yaml"), "recipe": str(home / "recipe.yaml"), "control_epochs": 1}
    for name, body in (("sky", TINY_SKY), ("recipe", recipe), ("demo", config)):
        (home / f"{name}.yaml").write_text(yaml.safe_dump(body))
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {PIPELINE} TEMPLATE {template_database}"))
    admin.dispose()
    environment = {
        "STRONGLENS_DATABASE_URL": server.url(PIPELINE).render_as_string(hide_password=False),
        "STRONGLENS_HOME": str(home),
        "STRONGLENS_STORE": str(home / "store"),
    }
    # A process of its own: the demo starts and stops a Spark of its own, and the tests share another.
    done = subprocess.run(
        [sys.executable, "-m", "stronglens", "demo", "--config", str(home / "demo.yaml")],
        cwd=CHECKOUT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (home / "demo.out").write_text(done.stdout)
    return home


@pytest.fixture
def populated(
    pipeline: Path, new_database: Callable[[str], URL], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Populated]:
    """A database of its own with the rows of every stage, and the store that they point to (read it only)."""
    url, store = new_database(PIPELINE), pipeline / "store"
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url.render_as_string(hide_password=False))
    monkeypatch.setenv("STRONGLENS_STORE", str(store))
    engine = connectable(url)
    yield Populated(url, engine, store)
    engine.dispose()
