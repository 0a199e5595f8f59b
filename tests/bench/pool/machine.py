"""On what it was measured: the versions, the server's settings, the sizes of tables."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version

from sqlalchemy import Engine, text

from etl.sweeps.spark import find_java

_SETTINGS = (
    "shared_buffers", "work_mem", "maintenance_work_mem", "effective_cache_size", "max_wal_size", "wal_level",
    "wal_compression", "fsync", "full_page_writes", "synchronous_commit", "random_page_cost", "jit",
    "max_parallel_workers_per_gather", "max_parallel_maintenance_workers", "autovacuum",
)  # fmt: skip
_PACKAGES = ("numpy", "pyarrow", "pyspark", "pgpq", "psycopg", "isal", "astropy", "sqlalchemy")


def versions(engine: Engine) -> dict[str, str]:
    """Versions of what does the work."""
    java = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=True).stderr.splitlines()[0]
    with engine.connect() as connection:
        server = str(connection.scalar(text("SHOW server_version")))
        q3c = str(connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'q3c'")))
    found = {"python": platform.python_version(), "java": java, "postgresql": server, "q3c": q3c}
    return found | {name: version(name) for name in _PACKAGES}


def server_settings(engine: Engine) -> dict[str, str]:
    """The settings of the server that matter for speed."""
    with engine.connect() as connection:
        return {name: str(connection.scalar(text(f"SHOW {name}"))) for name in _SETTINGS}


def table_sizes(engine: Engine) -> dict[str, int]:
    """Bytes of the tables above 1 MB and of their indexes, by qualified name."""
    statement = text(
        "SELECT c.oid::regclass::text, pg_relation_size(c.oid) FROM pg_class AS c "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'i') AND n.nspname NOT IN ('pg_catalog', 'information_schema') "
        "AND pg_relation_size(c.oid) > 1000000 ORDER BY 2 DESC"
    )
    with engine.connect() as connection:
        return {str(name): int(size) for name, size in connection.execute(statement)}
