"""Counts and checksums of every table, the same whatever the order of rows and columns added later."""

from __future__ import annotations

from sqlalchemy import Connection, text

OURS = ("provenance", "catalog", "sampling", "imaging", "training", "evaluation", "people", "injection")


def columns(connection: Connection) -> dict[str, list[str]]:
    """Columns of every table of ours, in alphabetical order."""
    rows = connection.execute(
        text(
            "SELECT table_schema || '.' || table_name, array_agg(column_name::text ORDER BY column_name) "
            "FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) "
            "WHERE table_type = 'BASE TABLE' AND table_schema = ANY(:ours) GROUP BY 1 ORDER BY 1"
        ),
        {"ours": list(OURS)},
    )
    return {str(name): list(names) for name, names in rows}


def checksums(connection: Connection, of: dict[str, list[str]]) -> dict[str, tuple[int, str]]:
    """Count and MD5 of some columns of some tables."""
    found = {}
    for table, names in of.items():
        row = "concat_ws('|', " + ", ".join(f"coalesce({name}::text, '~')" for name in names) + ")"
        lines = f"SELECT md5({row}) AS line FROM {table}"
        query = f"SELECT count(*), coalesce(md5(string_agg(line, ',' ORDER BY line)), '') FROM ({lines}) AS t"
        n, digest = connection.execute(text(query)).one()
        found[table] = (int(n), str(digest))
    return found
