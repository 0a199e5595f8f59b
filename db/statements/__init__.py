"""SQL statements that stages run, one file each; parameters are written `:name`."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import TextClause, text


def statement(name: str) -> TextClause:
    """Return the statement of `<name>.sql`."""
    return text((Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8"))
