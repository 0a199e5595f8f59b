"""The one pass of a draw: its keys are the same everywhere, workers and estimates change its speed and nothing else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, event, text

from db.bulk import begin_bulk
from db.errors import MissingInputError
from db.models.sampling import Draw
from db.provenance import canonical_config
from etl.draw.cells import Eligible, cells_of, last_keys, read_targets
from etl.draw.keys import FIRST_KEY, LAST_KEY, last_key, salt
from etl.draw.negatives import insert_negatives
from etl.draw.stage import draw_negatives
from tests.etl.draw_keys import galaxy_key
from tests.etl.test_draw import CONFIG, N, independent_draw, load, members, random_pool

GOLDEN = {
    ((10_000 << 40) + (340_000 << 16) + 1234, "N1"): -4639253123857743846,
    ((10_000 << 40) + (340_000 << 16) + 1234, "N2"): -1316776890735344806,
    ((9_990 << 40) + 65_535, "N1"): 3652735342967423905,
    (1, "EXP"): 6786684349832178004,
    (0, "N1"): 5664261064910570709,
}


def keys_in_sql(connection: Connection, ls_ids: list[int], purpose: str, seed: int = 42) -> list[int]:
    query = text(
        "SELECT sampling.draw_key(i, :salt) FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY u (i, n) ORDER BY n"
    )
    return list(connection.scalars(query, {"salt": salt(seed, purpose), "ids": ls_ids}))


def test_keys_are_the_golden_ones(connection: Connection) -> None:
    for (ls_id, purpose), wanted in GOLDEN.items():
        assert keys_in_sql(connection, [ls_id], purpose) == [wanted]


def test_keys_are_those_of_an_independent_implementation(connection: Connection) -> None:
    rng = np.random.default_rng(4)
    ls_ids = [int(i) for i in rng.integers(0, 2**62, 300)] + [0, 1, 2**32 - 1, 2**32, 2**63 - 1]
    for seed, purpose in ((42, "N1"), (0, "N2"), (2**31 - 1, "EXP")):
        assert keys_in_sql(connection, ls_ids, purpose, seed) == [galaxy_key(i, purpose, seed) for i in ls_ids]


def test_keys_of_neighbouring_galaxies_are_uniform_and_distinct(connection: Connection) -> None:
    """A hash that folded the halves of ls_id together would give galaxies of different bricks one key."""
    bricks = [(10_000 << 40) + (brick << 16) + obj for brick in range(300) for obj in range(300)]
    keys = np.array(keys_in_sql(connection, bricks, "N1"))
    assert len(np.unique(keys)) == len(bricks)
    counts = np.histogram(keys / 2**64, bins=50, range=(-0.5, 0.5))[0]
    assert (np.abs(counts - len(bricks) / 50) < 5 * np.sqrt(len(bricks) / 50)).all()


def test_a_fraction_of_all_keys_is_exact_at_its_ends() -> None:
    assert last_key(1, 1) == LAST_KEY
    assert last_key(1, 2**64) == FIRST_KEY
    assert last_key(1, 2) == -1


def test_a_bad_estimate_costs_a_second_pass_and_changes_no_member(engine: Engine) -> None:
    pool = random_pool()
    load(engine, pool)
    draw_negatives(engine, CONFIG)
    wanted = members(engine)
    with engine.connect() as connection:
        targets = read_targets(connection, 1)
        connection.rollback()
        for factor, n_passes in ((1e9, 2), (1e-9, 1)):
            transaction = connection.begin()
            connection.execute(text("DELETE FROM sampling.draw_member WHERE label = 0"))
            estimated = {target.stratum_id: Eligible(1000 * factor, 1000 * factor) for target in targets}
            config = CONFIG.model_copy(update={"survey": "dr10"})
            assert insert_negatives(connection, 1, config, 10, estimated) == n_passes
            found = connection.execute(
                text(
                    "SELECT ls_id, pool, nobs_z_bin, s.type, category, inclusion_probability FROM sampling.draw_member "
                    "JOIN sampling.stratum s USING (stratum_id) WHERE label = 0"
                )
            )
            assert {row[0]: tuple(row)[1:] for row in found} == wanted
            transaction.rollback()


def test_thresholds_keep_few_more_than_wanted_and_enough(engine: Engine) -> None:
    """5 sigma above what is wanted, and far from all."""
    load(engine, random_pool())
    draw_negatives(engine, CONFIG)
    with engine.connect() as connection:
        target = max(read_targets(connection, 1), key=lambda t: t.n1)
    keys = last_keys(target, Eligible(1e6, 1e6), 1.0)
    assert keys.n1 is not None
    kept = (keys.n1 - FIRST_KEY) / 2**64 * 1e6
    n = target.n1 + target.n2
    assert n + 5 * np.sqrt(n) < kept < 2 * n + 100
    assert last_keys(target, Eligible(n / 2, n / 2), 1.0).n1 == LAST_KEY


def test_the_cells_of_a_bin_share_the_keys_of_exp_galaxies_without_gap_or_overlap(engine: Engine) -> None:
    load(engine, random_pool())
    draw_negatives(engine, CONFIG)
    with engine.connect() as connection:
        cells = cells_of(read_targets(connection, 1))
    for code in {cell.code for cell in cells if cell.is_exp}:
        edges = sorted(cell.exp_keys for cell in cells if cell.code == code and cell.exp_keys)
        assert (edges[0][0], edges[-1][1]) == (FIRST_KEY, LAST_KEY)
        assert all(before[1] + 1 == after[0] for before, after in pairwise(edges))


CHEAP_WORKERS = {
    "min_parallel_table_scan_size": "0",
    "parallel_setup_cost": "0",
    "max_parallel_workers_per_gather": "2",
}


def test_parallel_workers_change_nothing_and_do_the_grouping(engine: Engine) -> None:
    pool = random_pool(np.random.default_rng(3).permutation(N))
    load(engine, pool)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        database = connection.scalar(text("SELECT current_database()"))
    statements = []

    @event.listens_for(engine, "before_cursor_execute")
    def _remember(_connection: object, _cursor: object, sql: str, *_rest: object) -> None:
        if "CREATE TEMPORARY TABLE draw_pass" in sql:
            statements.append(sql)

    drawn = []
    for number, workers in enumerate(("0", "2")):
        with engine.begin() as connection:
            for name, value in (CHEAP_WORKERS | {"max_parallel_workers_per_gather": workers}).items():
                connection.execute(text(f"ALTER DATABASE {database} SET {name} = {value}"))
        engine.dispose()
        draw_negatives(engine, CONFIG.model_copy(update={"name": f"d{number}"}))
        with engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT ls_id, pool, category, inclusion_probability FROM sampling.draw_member m "
                    "JOIN sampling.draw d USING (draw_id) WHERE d.name = :name AND label = 0 ORDER BY ls_id"
                ),
                {"name": f"d{number}"},
            ).all()
            drawn.append([tuple(row) for row in rows])
    assert drawn[0] == drawn[1]
    assert {row[0] for row in drawn[0]} == set(independent_draw(random_pool(), 40))
    with engine.connect() as connection:
        connection.execute(text("SET enable_sort = off"))
        plan = "\n".join(connection.exec_driver_sql("EXPLAIN (COSTS off) " + statements[-1]).scalars())
    assert "Parallel Seq Scan on galaxy" in plan
    assert plan.index("Gather") < plan.index("Partial HashAggregate") < plan.index("Parallel Seq Scan")
    assert "Join" not in plan  # galaxies near a lens are constants of the condition


def test_a_draw_of_an_earlier_version_is_left_as_it_is(engine: Engine) -> None:
    """Its rules named no key: the same rules today are those rules, though the key is another."""
    load(engine, random_pool())
    draw_negatives(engine, CONFIG)
    rules = CONFIG.model_dump(mode="json", exclude={"key_rule"}) | {"survey": "dr10"}
    digest, _ = canonical_config(rules)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO provenance.config SELECT :digest, body - 'key_rule' FROM provenance.config "
                 "WHERE config_sha256 = (SELECT config_sha256 FROM sampling.draw)"),
            {"digest": digest},
        )  # fmt: skip
        connection.execute(Draw.__table__.update().values(key_rule="sha256", config_sha256=digest))
    assert not draw_negatives(engine, CONFIG).is_new


def test_a_draw_waits_for_the_indexes_of_the_pool(engine: Engine) -> None:
    assert begin_bulk(engine)
    with pytest.raises(MissingInputError, match="no indexes yet"):
        draw_negatives(engine, CONFIG)
