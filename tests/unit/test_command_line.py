from __future__ import annotations

import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import stronglens
from db.engine import open_engine
from db.settings import CHECKOUT

RunCli = Callable[..., subprocess.CompletedProcess[str]]


def test_help_comes_in_under_a_second_and_names_db(run_cli: RunCli) -> None:
    run_cli("--help")  # the first may have to compile
    began = time.monotonic()
    done = run_cli("--help")
    assert time.monotonic() - began < 1
    assert done.returncode == 0
    assert "db " in done.stdout


def test_help_imports_none_of_the_heavy_libraries() -> None:
    heavy = {"torch", "pyspark", "astropy", "streamlit", "pandas", "sklearn", "healpy", "boto3", "sqlalchemy"}
    code = f"import sys, stronglens; stronglens._assemble(); print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version_is_the_one_in_pyproject(run_cli: RunCli) -> None:
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
    assert run_cli("--version").stdout == f"stronglens {declared}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--wrong",), "No such option: --wrong"),
        (("wrong",), "No such command 'wrong'"),
        (("db", "wrong"), "No such command 'wrong' (see `stronglens db --help`)"),
        (("db", "downgrade"), "Missing argument"),
    ],
)
def test_a_usage_error_is_one_line_and_status_2(run_cli: RunCli, arguments: tuple[str, ...], words: str) -> None:
    done = run_cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_command_shows_the_help(run_cli: RunCli) -> None:
    for arguments in ((), ("db",)):
        assert "Commands:" in run_cli(*arguments).stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url secret", "STRONGLENS_DATABASE_URL is not a URL"),
        ("postgresql://u:secret@host:port/x", "STRONGLENS_DATABASE_URL is not a URL"),
        ("mysql://u:secret@host/x", "STRONGLENS_DATABASE_URL is not a PostgreSQL URL (mysql://u:***@host/x)"),
        ("postgresql://u:secret@localhost:1/x?password=secret", "cannot use postgresql+psycopg://u:***@localhost:1/x"),
        ("postgresql://u:secret@localhost:1/x?wrong=secret", "invalid connection option"),
    ],
)
def test_a_wrong_database_is_one_line_without_the_password(run_cli: RunCli, url: str, words: str) -> None:
    done = run_cli("db", "current", STRONGLENS_DATABASE_URL=url)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr + done.stdout


def test_start_and_stop_refuse_a_server_that_is_not_ours(run_cli: RunCli) -> None:
    for action in ("start", "stop"):
        done = run_cli("db", action, STRONGLENS_DATABASE_URL="postgresql://localhost/x")
        assert done.returncode == 1
        assert f"not ours to {action}" in done.stderr


def test_a_working_folder_that_cannot_be_made_is_one_line(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_cli("db", "start", STRONGLENS_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 1
    assert "STRONGLENS_HOME" in done.stderr
    assert done.stderr.count("\n") == 1


def test_notebooks_find_connect_and_nothing_that_is_not_there() -> None:
    assert stronglens.connect is open_engine
    with pytest.raises(AttributeError, match="nothing"):
        stronglens.nothing  # noqa: B018
