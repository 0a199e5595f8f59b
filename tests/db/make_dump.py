"""Write the dump of a small populated database at this revision, for the upgrade tests of later revisions.

Run at the end of an issue: ``make dump``. It runs the demo on the tests' tiny sky, keeps what the draw refers to and a
few hundred other rows, and writes ``tests/db/dumps/<revision>.sql.gz`` with its counts and checksums beside it.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import text

from db import migrate
from db.embedded.binaries import binaries
from tests.conftest import Populated
from tests.db.checksums import checksums, columns

DUMPS = Path(__file__).parent / "dumps"

SHRINK = """
DROP EXTENSION IF EXISTS pg_sphere CASCADE;
DELETE FROM sampling.split_cell c
WHERE c.healpix_128 % 97 <> 0
    AND NOT EXISTS (SELECT 1 FROM sampling.draw_member m WHERE m.healpix_128 = c.healpix_128);
CREATE TEMP TABLE kept AS
SELECT lens_id FROM sampling.draw_member WHERE lens_id IS NOT NULL
UNION SELECT lens_id FROM catalog.lens_neighbour
UNION SELECT lens_id FROM catalog.lens WHERE lens_id % 101 = 0;
DELETE FROM catalog.lens_grade WHERE lens_id NOT IN (SELECT lens_id FROM kept);
DELETE FROM catalog.lens_redshift WHERE lens_id NOT IN (SELECT lens_id FROM kept);
DELETE FROM catalog.lens_source WHERE lens_id NOT IN (SELECT lens_id FROM kept);
DELETE FROM catalog.lens WHERE lens_id NOT IN (SELECT lens_id FROM kept)
"""


@pytest.mark.dump
def test_write_the_dump(populated: Populated) -> None:
    """Not a test of the suite (marked dump): `make dump` selects it, since it needs the suite's fixtures."""
    with populated.engine.begin() as connection:
        for statement in SHRINK.split(";"):
            connection.execute(text(statement))
    with populated.engine.connect() as connection:
        of = columns(connection)
        sums = checksums(connection, of)
    command = [binaries().program("pg_dump"), "--no-owner", "--no-privileges"]
    url = populated.url
    place = ["--host", str(url.query["host"]), "--username", str(url.username), "--dbname", str(url.database)]
    done = subprocess.run([*command, *place], check=True, capture_output=True)
    DUMPS.mkdir(exist_ok=True)
    revision = migrate.head()
    # mtime 0 and no name: the same rows give the same bytes.
    (DUMPS / f"{revision}.sql.gz").write_bytes(gzip.compress(done.stdout, mtime=0))
    body = {"columns": of, "checksums": sums}
    (DUMPS / f"{revision}.json").write_text(json.dumps(body, indent=1) + "\n")
    assert (DUMPS / f"{revision}.sql.gz").stat().st_size < 4_000_000
