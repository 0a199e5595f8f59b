"""The door for pg_sphere against that extension's own distances, row by row, and a database without it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL

from db import drift, migrate
from db.bootstrap import bootstrap
from db.engine import connectable
from tests.builders import ARCSEC, insert_galaxies

OURS = ("cone_spoint", "results.cone", "results.nearest")


@pytest.fixture(autouse=True)
def _needs_pg_sphere(scratch_engine: Engine) -> None:
    with scratch_engine.connect() as connection:
        offered = connection.scalar(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_sphere'"))
    assert offered, "pg_sphere is not installed: run ./setup.sh --tests"


def awkward_positions(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions all over the sky, and many at the wrap, the poles and the equator."""
    rng = np.random.default_rng(21)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    ra[: n // 4] = rng.uniform(-40, 40, n // 4) * ARCSEC % 360
    dec[: n // 8] = rng.uniform(-40, 40, n // 8) * ARCSEC
    dec[n // 4 : n // 2] = rng.choice([-1, 1], n // 4) * (90 - np.abs(rng.normal(0, 40, n // 4)) * ARCSEC)
    return ra, dec


def test_every_row_is_that_of_pg_spheres_own_distance(connection: Connection) -> None:
    ra, dec = awkward_positions(800)
    insert_galaxies(connection, ra, dec)
    centres = [(0.0, 0.0), (359.9999, 0.001), (0.0001, -0.001), (12.0, 90.0), (200.0, -90.0), (77.0, 89.995)]
    centres += list(zip(ra[-20:].tolist(), dec[-20:].tolist(), strict=True))
    n_rows = 0
    for ra0, dec0 in centres:
        for radius in (1.0, 60.0, 3600.0):
            values = {"ra": ra0, "dec": dec0, "radius": radius}
            wanted = connection.execute(
                text(
                    "SELECT ls_id, 3600 * degrees(spoint(radians(ra), radians(dec)) "
                    "<-> spoint(radians(:ra), radians(:dec))) AS arcsec FROM catalog.galaxy"
                ),
                values,
            )
            distance = {row.ls_id: row.arcsec for row in wanted}
            found = connection.execute(
                text(
                    "SELECT c.*, 3600 * degrees(c.position <-> spoint(radians(g.ra), radians(g.dec))) AS moved_arcsec "
                    "FROM results.cone_spoint(spoint(radians(:ra), radians(:dec)), :radius) AS c "
                    "JOIN catalog.galaxy AS g ON g.ls_id = c.ls_id"
                ),
                values,
            ).all()
            assert {row.ls_id for row in found} == {key for key, arcsec in distance.items() if arcsec <= radius}
            for row in found:
                assert row.separation_arcsec == pytest.approx(distance[row.ls_id], abs=1e-4)
                assert row.moved_arcsec == pytest.approx(0, abs=1e-5)
            n_rows += len(found)
    assert n_rows > 1000


def test_the_door_gives_the_rows_and_columns_of_the_cone(connection: Connection) -> None:
    ra, dec = awkward_positions(400)
    insert_galaxies(connection, ra, dec)
    shared = (
        "ls_id, survey, type, mag_g_ab, mag_r_ab, mag_z_ab, nobs_z, lens_name, lens_tier, is_lens_claim, "
        "lens_separation_arcsec"
    )
    both = text(
        f"SELECT (SELECT count(*) FROM results.cone(0, 0, 3600)), "
        f"(SELECT count(*) FROM (SELECT {shared} FROM results.cone(0, 0, 3600) "
        f"EXCEPT SELECT {shared} FROM results.cone_spoint(spoint(0, 0), 3600)) AS x), "
        f"(SELECT count(*) FROM results.cone_spoint(spoint(0, 0), 3600, 'mock'))"
    )
    n, n_differing, n_mock = connection.execute(both).one()
    assert n >= 50
    assert (n_differing, n_mock) == (0, 0)


def test_a_longitude_just_below_a_full_turn_is_a_position(connection: Connection) -> None:
    (key,) = insert_galaxies(connection, [0.0], [0.0])
    below = np.nextafter(2 * np.pi, 0)
    found = text("SELECT ls_id FROM results.cone_spoint(spoint(:ra, 0), 1)")
    assert connection.scalar(found, {"ra": float(below)}) == key


def test_a_reader_may_use_the_door(connection: Connection) -> None:
    insert_galaxies(connection, [10.0], [1.0])
    connection.execute(text("SET LOCAL ROLE stronglens_reader"))
    found = "SELECT count(*) FROM results.cone_spoint(spoint(radians(10), radians(1)), 5)"
    assert connection.scalar(text(found)) == 1


def door(engine: Engine) -> tuple[bool, bool]:
    with engine.connect() as connection:
        return (
            bool(connection.scalar(text("SELECT count(*) FROM pg_extension WHERE extname = 'pg_sphere'"))),
            bool(connection.scalar(text("SELECT count(*) FROM pg_proc WHERE proname = 'cone_spoint'"))),
        )


def our_drift(engine: Engine) -> list[str]:
    return [line for line in drift.check(engine) if any(name in line for name in OURS)]


def test_a_schema_without_the_extension_is_whole_and_bootstrap_makes_the_door_later(
    new_database: Callable[[str], URL],
) -> None:
    url = new_database("template1")
    engine = connectable(url)
    bootstrap(url)
    with engine.begin() as connection:
        connection.execute(text("DROP EXTENSION pg_sphere"))
    migrate.upgrade(engine)
    assert door(engine) == (False, False)
    assert our_drift(engine) == []
    with engine.begin() as connection:
        assert connection.execute(text("SELECT * FROM results.cone(1, 1, 5)")).all() == []
    assert bootstrap(url) == ["extension pg_sphere", "function results.cone_spoint"]
    assert bootstrap(url) == []
    assert door(engine) == (True, True)
    assert our_drift(engine) == []
    migrate.downgrade(engine, "0010")
    assert door(engine) == (True, False)
    migrate.upgrade(engine)
    assert door(engine) == (True, True)
    engine.dispose()


def test_drift_of_the_door_is_named(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER FUNCTION results.cone_spoint ROWS 77"))
    assert our_drift(engine) == ["function results.cone_spoint differs from its file"]


def test_a_user_who_may_not_make_the_extension_is_not_troubled(engine: Engine, database_url: URL) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP EXTENSION pg_sphere CASCADE"))
        connection.execute(text("DROP ROLE IF EXISTS plain_user"))
        connection.execute(text("CREATE ROLE plain_user"))
        connection.execute(text("GRANT plain_user TO CURRENT_USER"))
    as_plain_user = database_url.update_query_dict({"options": "-c role=plain_user"})
    assert bootstrap(as_plain_user) == []
    assert door(engine) == (False, False)
