"""Upgrades over populated databases lose nothing: the dumps of earlier revisions, and a way down and up again."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL

from db import drift, migrate
from db.bootstrap import bootstrap
from db.embedded.binaries import binaries
from db.engine import connectable
from tests.conftest import Populated
from tests.db.checksums import checksums, columns

LATER_TABLES = {
    "catalog.matched_file",
    "catalog.matched_lens",
    "catalog.sweep_task",
    "evaluation.calibration",
    "evaluation.condition_tally",
    "evaluation.cross_validation",
    "evaluation.discovery",
    "evaluation.discovery_cut",
    "evaluation.diversity",
    "evaluation.evaluated_split",
    "evaluation.fold",
    "evaluation.held_out",
    "evaluation.reliability_bin",
    "evaluation.survey_rate",
    "imaging.cutout_source",
    "imaging.pack",
    "imaging.pack_shard",
    "imaging.pixel_source",
    "imaging.quarantine",
    "imaging.validation",
    "sampling.mining",
    "training.embedding",
    "training.ensemble",
    "training.ensemble_member",
}
"""Tables that came after the lowest revision."""

LATER_COLUMNS = {
    "catalog.sweep_file": ("etag", "modified_at"),
    "imaging.cutout": ("psf_fwhm_", "psfdepth_", "nexp_", "conditions_source"),
    "imaging.cutout_metric": ("border_",),
    "imaging.shortcut_feature": ("auc_adjusted", "judged_by"),
    "training.model": ("taught_sha256",),
}
"""What begins the names of columns that came after the lowest revision and cannot be derived."""

DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.sql.gz"))


def test_there_is_a_dump_of_the_newest_revision() -> None:
    """So that the revision after it has rows to upgrade from the day it is written; `make dump` makes it."""
    assert f"{migrate.head()}.sql.gz" in [dump.name for dump in DUMPS]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name)
def test_a_dumped_database_upgrades_with_all_its_rows(dump: Path, new_database: Callable[[str], URL]) -> None:
    url = new_database("template0")
    program = binaries().program("psql")
    place = ["--host", str(url.query["host"]), "--username", str(url.username), "--dbname", str(url.database)]
    subprocess.run(
        [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", *place],
        input=gzip.decompress(dump.read_bytes()),
        check=True,
        capture_output=True,
    )
    bootstrap(url)
    engine = connectable(url)
    revision = dump.name.removesuffix(".sql.gz")
    assert migrate.current(engine) == revision
    migrate.upgrade(engine)
    wanted = json.loads(dump.with_suffix("").with_suffix(".json").read_text())
    with engine.connect() as connection:
        found = checksums(connection, wanted["columns"])
    assert {name: list(value) for name, value in found.items()} == wanted["checksums"]
    assert drift.check(engine) == []
    engine.dispose()


def test_a_way_down_and_up_again_keeps_every_row(populated: Populated) -> None:
    """Of the tables that the lowest revision has; what came later and cannot be derived goes on the way down."""
    with populated.engine.begin() as connection:
        later_samples = "('tier_ab_graded', 'held_out', 'held_out_all')"
        later = text(f"DELETE FROM evaluation.tally WHERE sample IN {later_samples} OR category = 'mined'")
        connection.execute(later)
        of = {
            table: [name for name in names if not name.startswith(LATER_COLUMNS.get(table, ("?",)))]
            for table, names in columns(connection).items()
            if table not in LATER_TABLES
        }
        before = checksums(connection, of)
    assert min(n for table, (n, _) in before.items() if table not in {"sampling.guard_drop", "sampling.close_pair"}) > 0
    migrate.downgrade(populated.engine, "0006")
    with populated.engine.connect() as connection:
        assert LATER_TABLES.isdisjoint(columns(connection))
    migrate.upgrade(populated.engine)
    with populated.engine.connect() as connection:
        assert checksums(connection, of) == before
    assert drift.check(populated.engine) == []
