"""The public face: the `stronglens` command, and names for notebooks.

``from stronglens import connect`` opens the catalog. What a name stands for is imported at its first use.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from db.errors import StronglensError

PACKAGES = ("db", "etl", "training", "analysis", "dashboard")
_NAMES = {"connect": ("db.engine", "open_engine")}

app = typer.Typer(
    help="Catalog and results service for strong-lens finding in the DESI Legacy Imaging Surveys DR10.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'stronglens' has no attribute {name!r}")
    module, attribute = _NAMES[name]
    return getattr(importlib.import_module(module), attribute)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stronglens {version('stronglens')}")
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; twice: all.")] = 0,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    from rich.console import Console
    from rich.logging import RichHandler

    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = RichHandler(console=Console(stderr=True), show_path=False)
    logging.basicConfig(level=level, format="%(message)s", datefmt="[%X]", handlers=[handler])


def _assemble() -> None:
    for package in PACKAGES:
        importlib.import_module(f"{package}.commands").register(app)


def _database_errors() -> tuple[type[Exception], ...]:
    """Errors of a server that went away or refuses; imported only once there is an error, as that takes a while."""
    import psycopg
    from sqlalchemy.exc import DBAPIError

    return DBAPIError, psycopg.Error


def _fail(message: str, status: int) -> None:
    sys.stdout.flush()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """Run the command line: any error that a user can cause is one line and a non-zero exit status."""
    _assemble()
    try:
        result = app(prog_name="stronglens", standalone_mode=False)
        sys.stdout.flush()
    except StronglensError as exc:
        _fail(str(exc), 1)
    except TyperException as exc:
        _fail_usage(exc)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, say `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except _database_errors() as exc:
        logging.getLogger(__name__).debug("the database failed", exc_info=exc)
        _fail(f"the database refused (-vv tells more): {getattr(exc, 'orig', None) or exc}", 1)
    else:
        sys.exit(result if isinstance(result, int) else 0)


def _fail_usage(exc: TyperException) -> None:
    context = getattr(exc, "ctx", None)
    if "\n" in exc.format_message():  # a group without a command: the message is its help
        typer.echo(exc.format_message(), err=True)
        sys.exit(exc.exit_code)
    path = context.command_path if context is not None else "stronglens"
    _fail(f"{exc.format_message().rstrip('.')} (see `{path} --help`)", exc.exit_code)


if __name__ == "__main__":
    main()
