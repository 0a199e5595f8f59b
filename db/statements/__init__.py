"""SQL statements that stages run, one file each; parameters are written `:name`."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import TextClause, text


def statement(name: str) -> TextClause:
    """Return the statement of `<name>.sql`; it may lie in an archive, as on a cluster's workers."""
    return text(files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"))
