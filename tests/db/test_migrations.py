"""The migrations alone make the schema: one head, each step down and up, and nothing for autogenerate to find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytest_alembic import MigrationContext, create_alembic_fixture
from pytest_alembic.config import Config
from pytest_alembic.tests import (  # noqa: F401 - collected as tests of this module
    test_model_definitions_match_ddl,
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from db import drift, migrate
from db.bootstrap import bootstrap
from db.engine import connectable
from db.errors import SchemaError

OTHER_BIN = (
    "CREATE OR REPLACE FUNCTION sampling.nobs_z_bin(nobs_z smallint) RETURNS text "
    "LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN '1-2'"
)


@pytest.fixture
def bare_engine(new_database: Callable[[str], URL]) -> Iterator[Engine]:
    """Engine of a database with Q3C and nothing of ours."""
    url = new_database("template1")
    bootstrap(url)
    engine = connectable(url)
    yield engine
    engine.dispose()


# The plugin's own collection (switched off in pyproject.toml) does not work with this pytest; its tests do.
alembic_runner = create_alembic_fixture(
    Config(config_options={"script_location": str(migrate.MIGRATIONS), "path_separator": "os"})
)


@pytest.fixture
def alembic_engine(bare_engine: Engine) -> Engine:
    return bare_engine


def test_a_migrated_database_has_no_drift(engine: Engine) -> None:
    assert drift.check(engine) == []


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("ALTER TABLE catalog.lens DROP CONSTRAINT ck_lens_ra_range", "ck_lens_ra_range"),
        ("ALTER TABLE catalog.lens ALTER COLUMN name DROP NOT NULL", "catalog.lens.name"),
        ("COMMENT ON COLUMN training.score.score IS 'other'", "training.score.score"),
        ("COMMENT ON TABLE training.score IS 'other'", "table training.score"),
        ("DROP INDEX catalog.ix_galaxy_q3c", "ix_galaxy_q3c"),
        (
            "DROP INDEX catalog.ix_galaxy_q3c; CREATE INDEX ix_galaxy_q3c ON catalog.galaxy (q3c_ang2ipix(dec, ra))",
            "ix_galaxy_q3c",
        ),
        ("CREATE OR REPLACE VIEW results.strata AS SELECT 1 AS one", "results.strata"),
        ("COMMENT ON VIEW results.strata IS 'other'", "results.strata"),
        ("CREATE VIEW results.extra AS SELECT 1 AS one", "results.extra"),
        ("DROP TRIGGER config_refuse_change ON provenance.config", "config_refuse_change"),
        (OTHER_BIN, "sampling.nobs_z_bin"),
        ("CREATE TABLE catalog.extra (one int)", "catalog.extra"),
    ],
)
def test_drift_of_every_kind_is_named(engine: Engine, damage: str, named: str) -> None:
    with engine.begin() as connection:
        if "VIEW results.strata AS" in damage:
            connection.execute(text("DROP VIEW results.strata"))
        connection.execute(text(damage))
    lines = drift.check(engine)
    assert any(named in line for line in lines), lines


def test_the_drift_check_changes_nothing(engine: Engine) -> None:
    drift.check(engine)
    with engine.connect() as connection:
        left = connection.scalar(text("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'drift_scratch_%'"))
    assert left == 0


def test_an_old_schema_is_reported_with_both_revisions(engine: Engine) -> None:
    migrate.downgrade(engine, "0007")
    (line,) = drift.check(engine)
    assert "0007" in line
    assert migrate.head() in line


def test_an_unknown_revision_is_one_line_that_lists_the_known_ones(engine: Engine) -> None:
    with pytest.raises(SchemaError, match="revision 9999") as caught:
        migrate.upgrade(engine, "9999")
    assert migrate.head() in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_interrupted_index_build_is_repaired(bare_engine: Engine) -> None:
    migrate.upgrade(bare_engine, "0007")
    with bare_engine.begin() as connection:
        connection.execute(text("CREATE INDEX ix_galaxy_q3c ON catalog.galaxy (q3c_ang2ipix(ra, dec))"))
        connection.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'catalog.ix_galaxy_q3c'::regclass")
        )
    migrate.upgrade(bare_engine)
    assert drift.check(bare_engine) == []


def test_every_table_and_column_has_a_comment(engine: Engine) -> None:
    bare = text(
        "SELECT c.table_schema || '.' || c.table_name || '.' || c.column_name FROM information_schema.columns c "
        "JOIN information_schema.tables t USING (table_schema, table_name) "
        "WHERE t.table_type = 'BASE TABLE' AND c.table_schema IN "
        "('provenance', 'catalog', 'sampling', 'imaging', 'training', 'evaluation') AND (col_description("
        "format('%I.%I', c.table_schema, c.table_name)::regclass, c.ordinal_position) IS NULL "
        "OR obj_description(format('%I.%I', c.table_schema, c.table_name)::regclass) IS NULL)"
    )
    with engine.connect() as connection:
        assert connection.scalars(bare).all() == []


@pytest.mark.parametrize("change", ["UPDATE provenance.config SET body = '{}'", "DELETE FROM provenance.config",
                                    "TRUNCATE provenance.config CASCADE"])  # fmt: skip
def test_a_configuration_that_ran_is_never_edited(engine: Engine, change: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO provenance.config VALUES (repeat('a', 64), '{}')"))
    with pytest.raises(DBAPIError, match="never edited"), engine.begin() as connection:
        connection.execute(text(change))


def test_a_downgrade_to_base_leaves_nothing_of_ours(alembic_runner: MigrationContext, bare_engine: Engine) -> None:
    alembic_runner.migrate_up_to("heads")
    alembic_runner.migrate_down_to("base")
    with bare_engine.connect() as connection:
        names = connection.scalars(text("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")).all()
    assert set(names) == {"public", "information_schema"}
