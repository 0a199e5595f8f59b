from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL

from db import migrate
from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.engine import connectable, open_engine, refuse_old_server
from db.errors import BootstrapError, SchemaError, ServerError

RunCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bare_url(server: EmbeddedServer, new_database: Callable[[str], URL], monkeypatch: pytest.MonkeyPatch) -> URL:
    """A database without extension and schema."""
    url = new_database("template1")
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url.render_as_string(hide_password=False))
    return url


@pytest.fixture
def plain_role(server: EmbeddedServer) -> Iterator[str]:
    """A role that may log in and nothing else."""
    admin = connectable(server.url("postgres"))
    with admin.begin() as connection:
        connection.execute(text("CREATE ROLE plain LOGIN"))
    yield "plain"
    with admin.begin() as connection:
        connection.execute(text("DROP ROLE plain"))
    admin.dispose()


def test_a_database_at_head_opens_and_knows_us(engine: Engine) -> None:
    opened = open_engine()
    with opened.connect() as connection:
        assert connection.scalar(text("SHOW application_name")) == "stronglens"
        assert connection.dialect.driver == "psycopg"
    opened.dispose()


def test_without_q3c_the_message_says_bootstrap_and_bootstrap_helps(bare_url: URL) -> None:
    with pytest.raises(BootstrapError, match=f"{bare_url.database} lacks the Q3C extension: run `stronglens db boot"):
        open_engine(check_schema=False)
    assert "extension q3c" in bootstrap(bare_url)
    open_engine(check_schema=False).dispose()


def test_without_a_schema_the_message_says_upgrade(bare_url: URL) -> None:
    bootstrap(bare_url)
    with pytest.raises(SchemaError, match=rf"no schema, this code needs revision {migrate.head()}: .*db upgrade"):
        open_engine()


def test_an_unknown_revision_is_refused_with_both_names(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE public.alembic_version SET version_num = 'from_the_future'"))
    with pytest.raises(SchemaError, match=rf"from_the_future, this code needs {migrate.head()}: .* update this check"):
        open_engine()


def test_an_older_revision_is_refused_with_both_names_and_upgrade(engine: Engine) -> None:
    older = min(migrate.known_revisions() - {migrate.head()})
    with engine.begin() as connection:
        connection.execute(text("UPDATE public.alembic_version SET version_num = :older"), {"older": older})
    with pytest.raises(SchemaError, match=rf"revision {older}, this code needs {migrate.head()}: run `stronglens"):
        open_engine()


@pytest.mark.parametrize("number", [140_012, 90_624])
def test_a_server_older_than_15_is_named(number: int) -> None:
    with pytest.raises(ServerError, match=f"runs PostgreSQL {number // 10_000}, 15 or newer is needed: upgrade"):
        refuse_old_server(number)
    refuse_old_server(150_000)


def test_a_user_who_may_not_make_the_extension_is_given_the_statement(bare_url: URL, plain_role: str) -> None:
    with pytest.raises(BootstrapError, match=r"administrator .*: CREATE EXTENSION IF NOT EXISTS q3c"):
        bootstrap(bare_url.set(username=plain_role))


def test_a_user_who_may_not_make_the_database_is_given_the_statement(server: EmbeddedServer, plain_role: str) -> None:
    with pytest.raises(BootstrapError, match='run: CREATE DATABASE "not there"'):
        bootstrap(server.url("not there").set(username=plain_role))


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", "postgresql://someone:secret@localhost:1/x")
    with pytest.raises(ServerError, match=r"cannot use .*localhost:1/x: .*refused") as caught:
        open_engine()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reader_role_is_there_after_bootstrap(engine: Engine) -> None:
    with engine.connect() as connection:
        login = connection.scalar(text("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'stronglens_reader'"))
    assert login is False


def test_commands_take_an_empty_database_to_head_and_back(bare_url: URL, run_cli: RunCli) -> None:
    assert "made extension q3c" in run_cli("db", "bootstrap").stdout
    upgraded = run_cli("db", "upgrade")
    assert upgraded.stdout == f"schema: empty -> {migrate.head()}\n", upgraded.stderr
    assert run_cli("db", "current").stdout == f"schema: {migrate.head()}, this code: {migrate.head()}\n"
    assert run_cli("db", "downgrade", "base").stdout == f"schema: {migrate.head()} -> empty\n"


def test_check_prints_each_drifted_line_and_fails(engine: Engine, run_cli: RunCli) -> None:
    clean = run_cli("db", "check")
    assert (clean.returncode, clean.stdout) == (0, "no drift\n")
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE catalog.lens ADD COLUMN stray integer"))
    drifted = run_cli("db", "check")
    assert drifted.returncode == 1
    assert "stray" in drifted.stdout


def test_a_connection_of_a_test_leaves_nothing_behind(engine: Engine, connection: object) -> None:
    with engine.connect() as other:
        assert other.scalar(text("SELECT count(*) FROM catalog.lens")) == 0
