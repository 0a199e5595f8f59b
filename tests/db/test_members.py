"""The promise between a draw's members and the pool, which triggers keep in place of a foreign key."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from db.models.catalog import Galaxy
from db.models.sampling import Draw, DrawMember, Stratum
from tests.builders import insert_galaxies, insert_run

Add = Callable[[Connection, int], None]
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
        run_id = insert_run(connection)
        digest = connection.scalar(text("SELECT config_sha256 FROM provenance.run WHERE run_id = :r"), {"r": run_id})
        draw = {"name": "d", "survey": "dr10", "data_release": 10, "seed": 1, "config_sha256": digest}
        draw_id = connection.scalar(
            insert(Draw).values(**draw, run_id=run_id, n_lenses_known=0, n_galaxies=3).returning(Draw.draw_id)
        )
        numbers = ("n_positives", "n_eligible_n1", "n_eligible_n2", "n_target_n1", "n_target_n2", "n_drawn_n2")
        stratum_id = connection.scalar(
            insert(Stratum)
            .values(draw_id=draw_id, nobs_z_bin="3-5", type="DEV", **dict.fromkeys(numbers, 1), n_drawn_n1=1)
            .returning(Stratum.stratum_id)
        )

    def run(connection: Connection, ls_id: int) -> None:
        member = {"draw_id": draw_id, "label": 0, "pool": "N1", "ls_id": ls_id, "stratum_id": stratum_id}
        place = {"ra": 1.0, "dec": 1.0, "healpix_128": 1}
        connection.execute(insert(DrawMember).values(**member, **place, inclusion_probability=0.5, weight=1))

    return run


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


@pytest.mark.parametrize("first", ["draw", "delete"])
def test_a_galaxy_does_not_go_while_a_draw_takes_it(engine: Engine, pool: list[int], add: Add, first: str) -> None:
    refused: list[str] = []

    def second() -> None:
        try:
            with engine.begin() as connection:
                if first == "draw":
                    connection.execute(delete(Galaxy).where(Galaxy.ls_id == pool[2]))
                else:
                    add(connection, pool[2])
        except IntegrityError as exc:
            refused.append(str(exc.orig))

    with engine.begin() as connection:
        if first == "draw":
            add(connection, pool[2])
        else:
            connection.execute(delete(Galaxy).where(Galaxy.ls_id == pool[2]))
        other = threading.Thread(target=second)
        other.start()
        other.join(timeout=0.5)
        assert other.is_alive()  # it waits
    other.join()
    assert len(refused) == 1
    with engine.connect() as connection:
        dangling = select(DrawMember.ls_id).where(DrawMember.ls_id.not_in(select(Galaxy.ls_id)))
        assert connection.scalars(dangling).all() == []


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
