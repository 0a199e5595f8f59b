"""`stronglens db`: the server and its schema at the command line."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

from db.errors import ServerError

app = typer.Typer(help="The database: its server and schema.", no_args_is_help=True, rich_markup_mode=None)


def register(root: typer.Typer) -> None:
    """Add `db` to the command line."""
    root.add_typer(app, name="db")


@app.command()
def bootstrap() -> None:
    """Do once, as a superuser: make the database, the Q3C extension and the readers' role."""
    from db.bootstrap import bootstrap as prepare
    from db.engine import database_url, describe

    url = database_url()
    made = prepare(url)
    typer.echo(f"{describe(url)}: {'made ' + ', '.join(made) if made else 'everything is there'}")


@app.command()
def start() -> None:
    """Start the embedded server, making it first if need be (other commands do this by themselves)."""
    from db.engine import database_url, describe

    _refuse_configured("start")
    typer.echo(f"running: {describe(database_url())}")


@app.command()
def stop() -> None:
    """Stop the embedded server."""
    from db.embedded import EmbeddedServer
    from db.settings import settings

    _refuse_configured("stop")
    EmbeddedServer(settings().home).stop()
    typer.echo("stopped")


@app.command()
def status() -> None:
    """Say which server is used and whether it runs; exits 3 when it does not."""
    from db.embedded import EmbeddedServer
    from db.engine import configured_url, describe, open_engine
    from db.settings import settings

    configured = configured_url()
    if configured is not None:
        open_engine(check_schema=False).dispose()
        typer.echo(f"running: {describe(configured)} (STRONGLENS_DATABASE_URL)")
        return
    found = EmbeddedServer(settings().home).status()
    version = f"PostgreSQL {found.major}, " if found.major else ""
    pid = f", pid {found.pid}" if found.pid else ""
    typer.echo(f"{found.state}: embedded server, {version}data {found.data}, socket {found.socket}{pid}")
    if found.state != "running":
        raise typer.Exit(3)


@app.command()
def url() -> None:
    """Print the database's URL, with its password, for other programs."""
    from db.engine import database_url

    typer.echo(database_url().set(drivername="postgresql").render_as_string(hide_password=False))


@app.command(context_settings={"ignore_unknown_options": True})
def psql(
    arguments: Annotated[list[str] | None, typer.Argument(help="Passed on to psql, after --.")] = None,
) -> None:
    """Open psql on the database; `stronglens db psql -- -c 'select 1'` passes arguments on."""
    from sqlalchemy import URL

    from db.engine import database_url

    target = database_url()
    environment = dict(os.environ)
    if target.password is not None:  # not in the arguments: every user of the machine can read those
        environment["PGPASSWORD"] = str(target.password)
        target = URL.create(**(target._asdict() | {"password": None}))
    address = target.set(drivername="postgresql").render_as_string(hide_password=False)
    os.execve(_psql_program(), ["psql", "-d", address, *(arguments or [])], environment)  # noqa: S606


@app.command()
def upgrade(revision: Annotated[str, typer.Argument(help="Target revision.")] = "head") -> None:
    """Bring the schema to a revision, by default the newest."""
    from db import migrate
    from db.engine import open_engine

    engine = open_engine(check_schema=False)
    before = migrate.current(engine)
    migrate.upgrade(engine, revision)
    typer.echo(f"schema: {before or 'empty'} -> {migrate.current(engine) or 'empty'}")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Target revision, -1 for one step, or base.")],
) -> None:
    """Take the schema back to a revision; rows of removed tables are lost."""
    from db import migrate
    from db.engine import open_engine

    engine = open_engine(check_schema=False)
    before = migrate.current(engine)
    migrate.downgrade(engine, revision)
    typer.echo(f"schema: {before or 'empty'} -> {migrate.current(engine) or 'empty'}")


@app.command()
def current() -> None:
    """Print the schema's revision and the one this code needs."""
    from db import migrate
    from db.engine import open_engine

    engine = open_engine(check_schema=False)
    typer.echo(f"schema: {migrate.current(engine) or 'empty'}, this code: {migrate.head()}")


@app.command()
def check() -> None:
    """Compare the database with the models, views, functions and triggers; exits 1 on drift."""
    from db import drift
    from db.engine import open_engine

    lines = drift.check(open_engine())
    for line in lines:
        typer.echo(line)
    if lines:
        raise typer.Exit(1)
    typer.echo("no drift")


def _refuse_configured(action: str) -> None:
    from db.engine import VARIABLE, configured_url

    if configured_url() is not None:
        raise ServerError(f"{VARIABLE} is set: that server is not ours to {action}; unset it to use our own")


def _psql_program() -> str:
    from db.embedded.binaries import binaries

    found = shutil.which("psql")
    if found:
        return found
    program = binaries().folder / "psql"
    if not program.exists():
        raise ServerError("psql is not installed: apt-get install postgresql-client")
    return str(program)
