"""The promise between a draw's members and the pool, which triggers keep in place of a foreign key."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from db.models.catalog import Galaxy
from db.models.sampling import Draw, DrawMember
from tests.builders import insert_draw, insert_galaxies, insert_lenses, insert_negative

Add = Callable[[Connection, int], None]
Change = Callable[[Connection], None]
MOCK_KEY = 9990 << 40


@pytest.fixture
def pool(engine: Engine) -> list[int]:
    """Keys of three galaxies."""
    with engine.begin() as connection:
        return [int(key) for key in insert_galaxies(connection, [10.0, 20.0, 30.0], [0.0, 0.0, 0.0])]


@pytest.fixture
def add(engine: Engine) -> Add:
    """Put a galaxy into a draw as a negative."""
    with engine.begin() as connection:
        draw_id, stratum_id = insert_draw(connection)
    return lambda connection, ls_id: insert_negative(connection, draw_id, stratum_id, ls_id)


def test_a_member_that_is_not_in_the_pool_is_refused(engine: Engine, pool: list[int], add: Add) -> None:
    with pytest.raises(IntegrityError, match=f"draw d: galaxy {pool[0] + 77} is not in"), engine.begin() as connection:
        add(connection, pool[0] + 77)
    with engine.begin() as connection:
        add(connection, pool[0])
    missing = update(DrawMember).values(ls_id=pool[0] + 77)
    with pytest.raises(IntegrityError, match=r"is not in catalog\.galaxy"), engine.begin() as connection:
        connection.execute(missing)


def test_a_member_of_another_survey_is_refused(engine: Engine, pool: list[int], add: Add) -> None:
    with engine.begin() as connection:
        (key,) = insert_galaxies(connection, [40.0], [0.0], survey="mock")
    assert int(key) >= MOCK_KEY
    with pytest.raises(IntegrityError, match="never mixes surveys"), engine.begin() as connection:
        add(connection, int(key))


def test_a_galaxy_that_a_draw_holds_is_not_deleted_renamed_or_truncated(
    engine: Engine, pool: list[int], add: Add
) -> None:
    with engine.begin() as connection:
        add(connection, pool[1])
    for statement in (
        delete(Galaxy),
        update(Galaxy).where(Galaxy.ls_id == pool[1]).values(ls_id=pool[1] + 77),
        text("TRUNCATE catalog.galaxy CASCADE"),
    ):
        with pytest.raises(IntegrityError, match=f"galaxy {pool[1]} is held by draw d"), engine.begin() as connection:
            connection.execute(statement)
    with engine.begin() as connection:
        connection.execute(update(Galaxy).values(ebv_mag=0.5))
        assert connection.execute(delete(Galaxy).where(Galaxy.ls_id != pool[1])).rowcount == 2
        connection.execute(delete(DrawMember))
        assert connection.execute(delete(Galaxy)).rowcount == 1


def refusals_of_the_second(engine: Engine, first: Change, second: Change) -> list[str]:
    """Make a change while another is not committed yet: it must wait; return why it is refused."""
    refused: list[str] = []

    def other() -> None:
        try:
            with engine.begin() as connection:
                second(connection)
        except IntegrityError as exc:
            refused.append(str(exc.orig))

    with engine.begin() as connection:
        first(connection)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()  # it waits
    thread.join()
    return refused


@pytest.mark.parametrize("is_draw_first", [True, False])
def test_a_galaxy_does_not_go_while_a_draw_takes_it(
    engine: Engine, pool: list[int], add: Add, is_draw_first: bool
) -> None:
    def take(connection: Connection) -> None:
        add(connection, pool[2])

    def delete_galaxy(connection: Connection) -> None:
        connection.execute(delete(Galaxy).where(Galaxy.ls_id == pool[2]))

    order = (take, delete_galaxy) if is_draw_first else (delete_galaxy, take)
    assert len(refusals_of_the_second(engine, *order)) == 1
    with engine.connect() as connection:
        dangling = select(DrawMember.ls_id).where(DrawMember.ls_id.not_in(select(Galaxy.ls_id)))
        assert connection.scalars(dangling).all() == []


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM sampling.draw",
        "DELETE FROM sampling.stratum",
        "UPDATE sampling.stratum SET stratum_id = DEFAULT",
    ],
)
@pytest.mark.parametrize("is_member_first", [True, False])
def test_a_draw_and_a_stratum_do_not_go_while_a_member_comes(
    engine: Engine, pool: list[int], add: Add, change: str, is_member_first: bool
) -> None:
    def come(connection: Connection) -> None:
        add(connection, pool[0])

    def go(connection: Connection) -> None:
        connection.execute(text(change))

    (why,) = refusals_of_the_second(engine, *((come, go) if is_member_first else (go, come)))
    assert ("it has members" if is_member_first else "is not in sampling.stratum") in why
    with engine.connect() as connection:
        orphans = text(
            "SELECT count(*) FROM sampling.draw_member m LEFT JOIN sampling.draw d USING (draw_id) "
            "LEFT JOIN sampling.stratum s USING (stratum_id) WHERE d.draw_id IS NULL OR s.stratum_id IS NULL"
        )
        assert connection.scalar(orphans) == 0


def test_a_change_of_other_columns_of_the_pool_waits_for_no_draw_and_keeps_no_rows_aside(
    engine: Engine, pool: list[int], add: Add
) -> None:
    with engine.begin() as drawing, engine.begin() as maintenance:
        add(drawing, pool[0])
        maintenance.execute(text("SET LOCAL statement_timeout = '5s'"))
        assert maintenance.execute(update(Galaxy).values(ebv_mag=0.5)).rowcount == 3
        assert maintenance.execute(update(Galaxy).values(ls_id=Galaxy.ls_id)).rowcount == 3
    tables = text("SELECT tgoldtable, tgnewtable FROM pg_trigger WHERE tgname = 'galaxy_refuse_used_update'")
    with engine.connect() as connection:
        assert connection.execute(tables).all() == [(None, None)]


def test_a_member_of_no_draw_or_of_another_draws_stratum_is_refused(engine: Engine, pool: list[int], add: Add) -> None:
    with engine.begin() as connection:
        add(connection, pool[0])
    for values in ({"draw_id": 77}, {"stratum_id": 77}):
        with pytest.raises(IntegrityError, match=r"is not in sampling\.stratum"), engine.begin() as connection:
            connection.execute(update(DrawMember).values(**values))


@pytest.mark.parametrize("table", ["draw", "stratum"])
def test_a_draw_and_a_stratum_that_have_members_stay(engine: Engine, pool: list[int], add: Add, table: str) -> None:
    with engine.begin() as connection:
        add(connection, pool[0])
    for statement in (f"DELETE FROM sampling.{table}", f"TRUNCATE sampling.{table} CASCADE"):
        with pytest.raises(IntegrityError, match="it has members"), engine.begin() as connection:
            connection.execute(text(statement))
    with engine.begin() as connection:
        connection.execute(delete(DrawMember))
        connection.execute(text("DELETE FROM sampling.draw"))
        assert connection.scalar(text("SELECT count(*) FROM sampling.stratum")) == 0


def test_a_draw_and_a_stratum_that_have_members_keep_their_keys(engine: Engine, pool: list[int], add: Add) -> None:
    with engine.begin() as connection:
        add(connection, pool[0])
        copied = "survey, data_release, seed, config_sha256, run_id, n_lenses_known, n_galaxies"
        connection.execute(
            text(f"INSERT INTO sampling.draw (name, {copied}) SELECT 'other', {copied} FROM sampling.draw")
        )
    moves = (
        "UPDATE sampling.stratum SET draw_id = (SELECT max(draw_id) FROM sampling.draw)",
        "UPDATE sampling.stratum SET stratum_id = DEFAULT",
    )
    for move in moves:
        with pytest.raises(IntegrityError, match="it has members"), engine.begin() as connection:
            connection.execute(text(move))
    with engine.begin() as connection:
        assert connection.execute(text("UPDATE sampling.stratum SET n_positives = 2")).rowcount == 1
        connection.execute(delete(DrawMember))
        for move in moves:
            assert connection.execute(text(move)).rowcount == 1
        # A positive without a stratum is a member of the draw alone.
        connection.execute(text("DELETE FROM sampling.stratum"))
        (lens_id,) = insert_lenses(connection, [1.0], [1.0], ["A"])
        positive = {"label": 1, "pool": "positive", "tier": "A", "weight": 1, "ra": 1.0, "dec": 1.0, "healpix_128": 1}
        draw_id = connection.scalar(select(func.min(Draw.draw_id)))
        connection.execute(insert(DrawMember).values(draw_id=draw_id, lens_id=lens_id, **positive))
    renumber = text("UPDATE sampling.draw SET draw_id = DEFAULT WHERE name = :name")
    with pytest.raises(IntegrityError, match="it has members"), engine.begin() as connection:
        connection.execute(renumber, {"name": "d"})
    with engine.begin() as connection:
        assert connection.execute(renumber, {"name": "other"}).rowcount == 1
