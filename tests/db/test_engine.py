from __future__ import annotations

import logging
import os
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url

from db import migrate
from db.bootstrap import bootstrap
from db.embedded import EmbeddedServer
from db.engine import (
    connectable,
    database_url,
    describe,
    has_password,
    open_engine,
    refuse_old_server,
    with_password,
    without_password,
)
from db.errors import BootstrapError, ConfigError, SchemaError, ServerError

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


PASSWORD = "not-for-anybody-7c1e"
BARE = make_url("postgresql+psycopg://loader@db.example.org:5432/lens?sslmode=verify-full")


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Make secrets in a stand-in for AWS Secrets Manager, in us-east-2; returns their ARNs."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with mock_aws():
        client = boto3.client("secretsmanager", region_name="us-east-2")
        yield lambda name, body: str(client.create_secret(Name=name, SecretString=body)["ARN"])


def test_the_password_of_the_url_itself_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_PASSWORD_FILE", str(tmp_path / "not there"))
    own = BARE.set(password="own")
    assert with_password(own) == own
    as_parameter = BARE.update_query_dict({"password": "own"})
    assert with_password(as_parameter) == as_parameter


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (f"postgresql://loader:{PASSWORD}@db.example.org/lens", PASSWORD),
        (f"postgresql://loader@/lens?host=db.example.org&port=5432&password={PASSWORD}", PASSWORD),
        (f"postgresql://reader:{PASSWORD}@db.example.org/lens", None),
        (f"postgresql://loader:{PASSWORD}@other.example.org/lens", None),
        (f"postgresql://loader:{PASSWORD}@db.example.org/other", None),
        (f"postgresql://loader:{PASSWORD}@db.example.org:5433/lens", None),
    ],
)
def test_the_environments_url_lends_its_password_to_the_same_database_only(
    monkeypatch: pytest.MonkeyPatch, configured: str, expected: str | None
) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", configured)
    assert with_password(BARE).password == expected
    assert not has_password(without_password(with_password(BARE)))


def test_what_opens_a_clients_key_is_taken_out_with_the_password_and_lent_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keyed = BARE.update_query_dict({"sslkey": "/keys/loader.key", "sslpassword": PASSWORD})
    assert has_password(keyed)
    bare = without_password(keyed.set(password="own"))
    assert not has_password(bare)
    assert bare == BARE.update_query_dict({"sslkey": "/keys/loader.key"})
    # It is no password to log in with.
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", keyed.render_as_string(hide_password=False))
    assert with_password(bare) == keyed
    path = tmp_path / "password"
    path.write_text("own")
    monkeypatch.setenv("STRONGLENS_DATABASE_PASSWORD_FILE", str(path))
    assert with_password(keyed) == with_password(bare) == keyed.set(password="own")
    assert "sslpassword" not in with_password(bare.set(host="other.example.org")).query


def test_a_file_comes_before_a_secret_and_its_line_end_is_not_part_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_text(f" {PASSWORD} \n")
    monkeypatch.setenv("STRONGLENS_DATABASE_PASSWORD_FILE", str(path))
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", "never-asked")
    assert with_password(BARE).password == f" {PASSWORD} "
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", BARE.render_as_string())
    assert database_url().password == f" {PASSWORD} "


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "cannot be read (No such file"),
        (b"", "holds no password"),
        (b"\n", "holds no password"),
        (PASSWORD.encode() + b"\n" + PASSWORD.encode() + b"\n", "holds several lines"),
        (b"\xff" + PASSWORD.encode(), "is not text"),
    ],
)
def test_a_wrong_password_file_is_one_line_that_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: bytes | None, words: str
) -> None:
    path = tmp_path / "password"
    if body is not None:
        path.write_bytes(body)
    monkeypatch.setenv("STRONGLENS_DATABASE_PASSWORD_FILE", str(path))
    with pytest.raises(ConfigError) as caught:
        with_password(BARE)
    assert str(caught.value).startswith(f"STRONGLENS_DATABASE_PASSWORD_FILE: {path} ")
    assert words in str(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "body", [PASSWORD, f"{PASSWORD}\n", f'{{"username": "loader", "port": 5432, "password": "{PASSWORD}"}}']
)
def test_a_secret_is_plain_text_or_the_json_of_a_managed_database_and_is_not_logged(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    secrets: Callable[[str, str], str],
    body: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", secrets("lens-db", body))  # the ARN says the region
    assert with_password(BARE).password == PASSWORD
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", "lens-db")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    caplog.clear()
    filled = with_password(BARE)
    assert filled.password == PASSWORD
    assert PASSWORD not in caplog.text + repr(filled) + describe(filled) + repr(connectable(filled))


@pytest.mark.parametrize("body", [f'{{"pass": "{PASSWORD}"}}', '{"password": ""}', '{"password": 5}', " "])
def test_a_secret_without_a_password_is_one_line_that_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, secrets: Callable[[str, str], str], body: str
) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", secrets("lens-db", body))
    with pytest.raises(
        ConfigError, match=r"^STRONGLENS_DATABASE_SECRET: secret .*lens-db.* holds no password"
    ) as caught:
        with_password(BARE)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_secret_that_is_not_there_or_has_no_region_is_one_line(
    monkeypatch: pytest.MonkeyPatch, secrets: Callable[[str, str], str]
) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", "absent")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(ConfigError, match=r"secret absent cannot be read: You must specify a region"):
        with_password(BARE)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-2")
    with pytest.raises(ConfigError, match=r"secret absent cannot be read \(ResourceNotFoundException\); check its na"):
        with_password(BARE)


def test_without_any_source_a_url_stays_as_it_is() -> None:
    assert with_password(BARE) == BARE
