"""`stronglens dashboard` at the command line."""

from __future__ import annotations

from typing import Annotated

import typer


def register(root: typer.Typer) -> None:
    """Add `dashboard` to the command line."""
    root.command()(dashboard)


def dashboard(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    headless: Annotated[bool, typer.Option("--headless", help="Open no browser.")] = False,
) -> None:
    """Show the dashboard in the browser: counts of every stage, candidates, false positives."""
    from dashboard.serve import serve

    serve(host, port, open_browser=not headless, say=typer.echo)
