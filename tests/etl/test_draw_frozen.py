"""A draw that a model uses stays as it is, by whatever statement; one that no model uses can be deleted."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from db.errors import MissingInputError
from etl.draw.delete import delete_draw
from etl.draw.stage import draw_negatives
from etl.errors import SamplingError
from etl.splits import SplitConfig, assign_splits
from tests.conftest import RunCli
from tests.etl.draw_world import drawn_pool, insert_model, insert_scheme
from tests.etl.test_draw import CONFIG

CHANGES = {
    "insert": "INSERT INTO sampling.draw_member (draw_id, label, pool, ls_id, stratum_id, inclusion_probability, "
    "weight, ra, dec, healpix_128) SELECT m.draw_id, 0, 'N1', g.ls_id, m.stratum_id, 1, 1, g.ra, g.dec, g.healpix_128 "
    "FROM (SELECT * FROM sampling.draw_member WHERE label = 0 LIMIT 1) m, catalog.galaxy g "
    "WHERE g.ls_id NOT IN (SELECT ls_id FROM sampling.draw_member WHERE ls_id IS NOT NULL) LIMIT 1",
    "update": "UPDATE sampling.draw_member SET weight = 0.1 WHERE draw_id = 1",
    "delete": "DELETE FROM sampling.draw_member WHERE draw_id = 1",
    "truncate": "TRUNCATE sampling.draw_member CASCADE",
    "move out": "UPDATE sampling.draw_member SET draw_id = 2 WHERE member_id = (SELECT min(member_id) FROM "
    "sampling.draw_member WHERE label = 0 AND draw_id = 1 AND ls_id NOT IN (SELECT ls_id FROM sampling.draw_member "
    "WHERE draw_id = 2 AND ls_id IS NOT NULL))",
    "stratum insert": "INSERT INTO sampling.stratum (draw_id, nobs_z_bin, type, n_positives, n_eligible_n1, "
    "n_eligible_n2, n_target_n1, n_target_n2, n_drawn_n1, n_drawn_n2) SELECT 1, nobs_z_bin, type, 0, 0, 0, 0, 0, 0, 0 "
    "FROM sampling.stratum s WHERE draw_id = 2 AND NOT EXISTS (SELECT FROM sampling.stratum o WHERE o.draw_id = 1 "
    "AND (o.nobs_z_bin, o.type) = (s.nobs_z_bin, s.type))",
    "stratum update": "UPDATE sampling.stratum SET n_positives = 0",
    "stratum delete": "DELETE FROM sampling.stratum WHERE n_positives = 0 AND draw_id = 1",
    "stratum truncate": "TRUNCATE sampling.stratum CASCADE",
    "draw update": "UPDATE sampling.draw SET seed = 1 WHERE draw_id = 1",
    "draw delete": "DELETE FROM sampling.draw WHERE draw_id = 1",
    "draw truncate": "TRUNCATE sampling.draw CASCADE",
}


def state(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t")).scalar()
            for table in ("sampling.draw", "sampling.stratum", "sampling.draw_member")
        ]


def test_nothing_of_a_draw_that_a_model_uses_can_be_changed(engine: Engine) -> None:
    drawn_pool(engine)
    draw_negatives(engine, CONFIG.model_copy(update={"name": "other", "seed": 5}))
    with engine.begin() as connection:  # a stratum less, so that one can be inserted
        connection.execute(
            text(
                "DELETE FROM sampling.stratum WHERE stratum_id = "
                "(SELECT min(stratum_id) FROM sampling.stratum WHERE n_positives = 0)"
            )
        )
    with engine.begin() as connection:
        insert_scheme(connection)
        insert_model(connection)
    before = state(engine)
    for what, change in CHANGES.items():
        with pytest.raises(DBAPIError, match="draw default is frozen, model m1 uses it") as caught, engine.begin() as c:
            c.execute(text(change))
        assert caught.value.orig.sqlstate == "23001", what
    assert state(engine) == before


def test_a_row_cannot_be_moved_into_a_frozen_draw(engine: Engine) -> None:
    drawn_pool(engine)
    draw_negatives(engine, CONFIG.model_copy(update={"name": "other", "seed": 5}))
    with engine.begin() as connection:
        insert_scheme(connection)
        insert_model(connection)
    move = (
        "UPDATE sampling.draw_member SET draw_id = 1 WHERE draw_id = 2 AND label = 0 "
        "AND ls_id NOT IN (SELECT ls_id FROM sampling.draw_member WHERE draw_id = 1 AND ls_id IS NOT NULL)"
    )
    with pytest.raises(DBAPIError, match="draw default is frozen"), engine.begin() as connection:
        connection.execute(text(move))
    with engine.begin() as connection:  # the other draw is free
        assert connection.execute(text("UPDATE sampling.draw_member SET weight = 0.5 WHERE draw_id = 2")).rowcount > 100


def test_a_draw_without_a_model_goes_with_all_that_hangs_on_it(engine: Engine) -> None:
    drawn_pool(engine)
    draw_negatives(engine, CONFIG.model_copy(update={"name": "other", "seed": 5}))
    assign_splits(engine, SplitConfig(guard_arcsec=600))
    hanging = ("stratum", "draw_member", "close_pair", "split_assignment")
    count = "SELECT count(*) FILTER (WHERE draw_id = 1), count(*) FILTER (WHERE draw_id = 2) FROM sampling.{}"
    with engine.connect() as connection:
        before = {table: tuple(connection.execute(text(count.format(table))).one()) for table in hanging}
        assert connection.scalar(text("SELECT count(*) FROM sampling.guard_drop")) > 0
    assert min(n for pair in before.values() for n in pair) > 0
    done = delete_draw(engine, "default")
    assert done.n_members == before["draw_member"][0]
    with engine.connect() as connection:
        for table in hanging:
            assert tuple(connection.execute(text(count.format(table))).one()) == (0, before[table][1]), table
        lost = (
            "SELECT count(*) FROM sampling.guard_drop g LEFT JOIN sampling.draw_member m USING (member_id) "
            "WHERE m.draw_id IS NULL"
        )
        assert connection.scalar(text(lost)) == 0
        assert connection.scalars(text("SELECT name FROM sampling.draw")).all() == ["other"]


def test_a_frozen_draw_and_one_that_is_not_there_are_not_deleted(engine: Engine) -> None:
    drawn_pool(engine)
    with engine.begin() as connection:
        insert_scheme(connection)
        insert_model(connection)
    with pytest.raises(SamplingError, match="draw default is frozen: model m1"):
        delete_draw(engine, "default")
    with pytest.raises(MissingInputError, match="there is no draw 'nothing'"):
        delete_draw(engine, "nothing")


def test_the_view_of_draws_tells_which_are_frozen(engine: Engine) -> None:
    drawn_pool(engine)
    summary = draw_negatives(engine, CONFIG.model_copy(update={"name": "other", "seed": 5}))
    with engine.begin() as connection:
        insert_scheme(connection)
        insert_model(connection)
        insert_model(connection, name="m2")
        rows = {row.draw_name: row for row in connection.execute(text("SELECT * FROM results.draws"))}
        confusers = connection.execute(text("SELECT * FROM results.confusers WHERE draw_name = 'other'")).all()
    assert (rows["default"].is_frozen, rows["default"].models) == (True, ["m1", "m2"])
    other = rows["other"]
    assert (other.is_frozen, other.models, other.key_rule) == (False, [], "hashint8")
    assert {"positive": other.n_positives, "N1": other.n_n1, "N2": other.n_n2} == summary.n_by_pool
    assert (other.shortfall_n1, other.shortfall_n2) == (summary.shortfall_n1, summary.shortfall_n2)
    assert sum(row.n_drawn for row in confusers) == other.n_n2
    assert {row.category for row in confusers} == {"ring", "edge_on", "large", "blue_clumpy"}


def test_the_rule_costs_a_large_insert_next_to_nothing(engine: Engine) -> None:
    """200,000 rows through the trigger's function, beside the same insert without any trigger."""
    drawn_pool(engine)
    with engine.begin() as connection:
        insert_scheme(connection)
        insert_model(connection)
        connection.execute(text("CREATE TEMPORARY TABLE many (draw_id integer)"))
        fill = text("INSERT INTO many SELECT 2 FROM generate_series(1, 200000)")
        spent = []
        for trigger in (False, True):
            if trigger:
                connection.execute(
                    text(
                        "CREATE TRIGGER frozen AFTER INSERT ON many REFERENCING NEW TABLE AS changed "
                        "FOR EACH STATEMENT EXECUTE FUNCTION sampling.refuse_frozen_rows()"
                    )
                )
            began = time.monotonic()
            connection.execute(fill)
            spent.append(time.monotonic() - began)
    assert spent[1] - spent[0] < 1.0  # 478,800 members take 10 s and more


def test_the_command_line_deletes_and_refuses_options_that_it_would_lose(engine: Engine, run_cli: RunCli) -> None:
    drawn_pool(engine)
    done = run_cli("draw", "--name", "x", "delete", "default")
    assert done.returncode == 2
    assert "write it after `delete`" in done.stderr
    done = run_cli("draw", "delete", "default")
    assert done.stdout.startswith("draw default is deleted: ")
