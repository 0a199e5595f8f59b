"""`results.cone` and `results.nearest` against brute force, as a reader sees them, and the plan behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest
from sqlalchemy import Connection, Engine, insert, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from db.bootstrap import bootstrap
from db.engine import connectable
from db.errors import BootstrapError
from db.models.catalog import LensMatch
from tests.builders import ARCSEC, insert_galaxies, insert_lenses


def separation(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> np.ndarray:
    """Great-circle distance, arcsec (haversine)."""
    a, b, c, d = (np.radians(np.asarray(part)) for part in (ra1, dec1, ra2, dec2))
    h = np.sin((d - b) / 2) ** 2 + np.cos(b) * np.cos(d) * np.sin((c - a) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(h))) * 3600


PLACES = [(0.0, 0.0), (359.9999, 30.0), (0.0001, 30.0), (0.0, 90.0), (77.0, -90.0), (45.0, 35.264), (200.0, 5.0)]


@pytest.fixture
def sky(connection: Connection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Galaxies within about a minute of awkward places, five of them twice: ra, dec, ls_id."""
    rng = np.random.default_rng(9)
    ra, dec = (np.repeat(part, 300) for part in zip(*PLACES, strict=True))
    at_pole = np.abs(dec) == 90
    spread = rng.uniform(-60, 60, (2, len(ra))) * ARCSEC
    ra = np.where(at_pole, rng.uniform(0, 360, len(ra)), ra + spread[0] / np.cos(np.radians(np.minimum(dec, 60)))) % 360
    dec = np.where(at_pole, np.sign(dec) * (90 - np.abs(spread[1])), dec + spread[1])
    ra, dec = np.concatenate([ra, ra[:5]]), np.concatenate([dec, dec[:5]])
    return ra, dec, insert_galaxies(connection, ra, dec)


CONE = text("SELECT * FROM results.cone(:ra, :dec, :radius)")
NEAREST = text("SELECT * FROM results.nearest(:ra, :dec, :radius, :n)")


@pytest.mark.parametrize(("ra0", "dec0"), PLACES)
@pytest.mark.parametrize("radius", [2.0, 30.0, 3600.0])
def test_a_cone_finds_what_brute_force_finds(
    connection: Connection, sky: tuple[np.ndarray, np.ndarray, np.ndarray], ra0: float, dec0: float, radius: float
) -> None:
    ra, dec, keys = sky
    distance = separation(ra, dec, np.array(ra0), np.array(dec0))
    rows = connection.execute(CONE, {"ra": ra0, "dec": dec0, "radius": radius}).all()
    inside = np.flatnonzero(distance <= radius)
    assert {row.ls_id for row in rows} == set(keys[inside].tolist())
    assert [(row.separation_arcsec, row.ls_id) for row in rows] == sorted(
        (row.separation_arcsec, row.ls_id) for row in rows
    )
    index = [int(np.flatnonzero(keys == row.ls_id)[0]) for row in rows]
    np.testing.assert_allclose([row.separation_arcsec for row in rows], distance[index], atol=2e-6)
    assert [(row.ra, row.dec) for row in rows] == list(zip(ra[index], dec[index], strict=True))


def test_the_exact_radius_is_inside(connection: Connection) -> None:
    (key,) = insert_galaxies(connection, [200.0], [5.0 + 11 * ARCSEC])
    for radius, wanted in ((11.0, [key]), (11.0 - 1e-4, [])):
        found = connection.execute(CONE, {"ra": 200.0, "dec": 5.0, "radius": radius}).all()
        assert [row.ls_id for row in found] == wanted


@pytest.mark.parametrize("n", [1, 3, 10_000, None])
def test_nearest_gives_the_n_nearest(
    connection: Connection, sky: tuple[np.ndarray, np.ndarray, np.ndarray], n: int | None
) -> None:
    ra, dec, keys = sky
    distance = separation(ra, dec, np.array(0.0), np.array(0.0))
    order = np.argsort(distance, kind="stable")
    wanted = keys[order][distance[order] <= 40][:n].tolist()
    rows = connection.execute(NEAREST, {"ra": 0.0, "dec": 0.0, "radius": 40.0, "n": n}).all()
    assert sorted(row.ls_id for row in rows) == sorted(wanted)
    first = connection.execute(text("SELECT ls_id FROM results.nearest(0, 0, 40)")).scalars().all()
    assert first == wanted[:1]


def test_a_tie_goes_to_the_smaller_key(connection: Connection, sky: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    ra, dec, keys = sky  # the first five are there twice
    for i in range(5):
        found = connection.execute(NEAREST, {"ra": ra[i], "dec": dec[i], "radius": 1.0, "n": 2}).all()
        assert [row.ls_id for row in found] == [keys[i], keys[len(keys) - 5 + i]]


def test_columns_are_measured_values_and_the_known_lens(connection: Connection) -> None:
    flux = {"flux_g": [10.0, 0.0, 5.0], "flux_r": [100.0, -1.0, 5.0], "flux_z": [3.3, 7.0, 5.0]}
    columns = {name: np.array(values, np.float32) for name, values in flux.items()}
    nobs = np.array([3, 4, 5], np.int16)
    keys = insert_galaxies(connection, [10.0, 10.001, 10.002], [1.0] * 3, type="DEV", nobs_z=nobs, **columns)
    core, lens = insert_lenses(connection, [10.0, 10.0], [1.0, 1.0], [None, "B"])
    connection.execute(text("UPDATE catalog.lens SET is_lens_claim = false WHERE lens_id = :core"), {"core": core})
    match = {"survey": "dr10", "data_release": 10, "ls_id": int(keys[0])}
    connection.execute(
        insert(LensMatch),
        [match | {"lens_id": core, "separation_arcsec": 0.1}, match | {"lens_id": lens, "separation_arcsec": 0.5}],
    )
    rows = connection.execute(CONE, {"ra": 10.0, "dec": 1.0, "radius": 60.0}).all()
    assert [row.ls_id for row in rows] == keys.tolist()
    for i, row in enumerate(rows):
        for band in "grz":
            value = float(columns[f"flux_{band}"][i])
            wanted = 22.5 - 2.5 * np.log10(value) if value > 0 else None
            found = getattr(row, f"mag_{band}_ab")
            assert found == (None if wanted is None else pytest.approx(wanted, abs=1e-12))
        assert (row.survey, row.data_release, row.type, row.nobs_z) == ("dr10", 10, "DEV", nobs[i])
    # A cluster core is nearer, but the lens is what the galaxy is known for.
    known = [(row.lens_name, row.lens_tier, row.is_lens_claim, row.lens_separation_arcsec) for row in rows]
    assert known == [("L1", "B", True, 0.5), (None, None, None, None), (None, None, None, None)]


def test_surveys_can_be_told_apart(connection: Connection) -> None:
    (real,) = insert_galaxies(connection, [10.0], [1.0])
    (mock,) = insert_galaxies(connection, [10.0], [1.0], survey="mock")
    for survey, wanted in ((None, {real, mock}), ("dr10", {real}), ("mock", {mock})):
        found = connection.execute(text("SELECT ls_id FROM results.cone(10, 1, 5, :survey)"), {"survey": survey})
        assert set(found.scalars()) == wanted
    assert connection.scalar(text("SELECT ls_id FROM results.nearest(10, 1, 5, 1, 'mock')")) == mock


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("cone(10, 1, 0)", "radius is 0 arcsec, expected more than 0 and at most 3600"),
        ("cone(10, 1, 3600.1)", "radius is 3600.1 arcsec, expected more than 0 and at most 3600"),
        ("nearest(10, 1, 'NaN')", "radius is NaN arcsec, expected more than 0 and at most 3600"),
        ("nearest(10, 1, NULL)", "radius is NULL arcsec, expected more than 0 and at most 3600"),
        ("cone(360, 1, 5)", "ra is 360 degrees, expected at least 0 and less than 360"),
        ("cone('NaN', 1, 5)", "ra is NaN degrees, expected at least 0 and less than 360"),
        ("cone(1, 90.1, 5)", "dec is 90.1 degrees, expected -90 to 90"),
        ("nearest(1, 9, 5, 0)", "n is 0, expected at least 1, or NULL for all"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(connection: Connection, call: str, message: str) -> None:
    with pytest.raises(DBAPIError) as caught:
        connection.execute(text(f"SELECT * FROM results.{call}"))
    assert isinstance(caught.value.orig, psycopg.Error)
    assert caught.value.orig.diag.message_primary == message


def test_a_reader_may_search_and_still_not_read_the_pool(
    connection: Connection, sky: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    connection.execute(text("SET LOCAL ROLE stronglens_reader"))
    assert connection.scalar(text("SELECT count(*) FROM results.cone(200, 5, 3600)")) == 300
    assert connection.scalar(text("SELECT count(*) FROM results.nearest(200, 5, 60, 7)")) == 7
    with pytest.raises(DBAPIError, match="permission denied"):
        connection.execute(text("SELECT count(*) FROM catalog.galaxy"))


def test_a_callers_own_functions_cannot_take_the_place_of_ours(
    connection: Connection, sky: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    connection.execute(text("CREATE SCHEMA mine"))
    connection.execute(
        text("CREATE FUNCTION mine.q3c_dist(float8, float8, float8, float8) RETURNS float8 LANGUAGE sql RETURN 1")
    )
    connection.execute(text("GRANT USAGE ON SCHEMA mine TO stronglens_reader"))
    connection.execute(text("SET LOCAL search_path = mine, public"))
    connection.execute(text("SET LOCAL ROLE stronglens_reader"))
    assert connection.scalar(text("SELECT q3c_dist(1, 1, 1, 1)")) == 1
    found = connection.execute(CONE, {"ra": 200.0, "dec": 5.0, "radius": 3600.0}).all()
    assert len({row.separation_arcsec for row in found}) == 300


@pytest.mark.parametrize(
    ("operator", "left", "right", "result", "value"),
    [
        ("*", "float8", "integer", "float8", "1"),
        ("*", "numeric", "float8", "float8", "1"),
        ("-", "numeric", "float8", "float8", "1"),
        ("+", "float8", "numeric", "float8", "1"),
        (">", "real", "integer", "boolean", "false"),
        ("<=", "float8", "integer", "boolean", "false"),
        (">=", "float8", "integer", "boolean", "false"),
    ],
)
def test_an_operator_in_public_that_fits_better_than_a_cast_is_not_used(
    connection: Connection, operator: str, left: str, right: str, result: str, value: str
) -> None:
    insert_galaxies(connection, [200.0], [5.0 + 11 * ARCSEC], flux_g=np.array([10.0], np.float32))
    wanted = connection.execute(CONE, {"ra": 200.0, "dec": 5.0, "radius": 60.0}).one()
    connection.execute(
        text(f"CREATE FUNCTION public.trap({left}, {right}) RETURNS {result} LANGUAGE sql RETURN {value}::{result}")
    )
    connection.execute(
        text(f"CREATE OPERATOR public.{operator} (FUNCTION = trap, LEFTARG = {left}, RIGHTARG = {right})")
    )
    spring = connection.scalar(text(f"SELECT 3::{left} {operator} 2::{right}"))
    assert spring == (value == "1")
    assert connection.execute(CONE, {"ra": 200.0, "dec": 5.0, "radius": 60.0}).one() == wanted


def test_bootstrap_closes_a_public_schema_that_an_older_server_left_open(new_database: Callable[[str], URL]) -> None:
    url = new_database("template1")
    bootstrap(url)
    engine = connectable(url)
    with engine.begin() as connection:
        connection.execute(text("GRANT CREATE ON SCHEMA public TO PUBLIC"))
        connection.execute(text("DROP ROLE IF EXISTS plain_caller"))
        connection.execute(text("CREATE ROLE plain_caller"))
        connection.execute(text("GRANT plain_caller TO CURRENT_USER"))
    as_plain_caller = url.update_query_dict({"options": "-c role=plain_caller"})
    with pytest.raises(BootstrapError, match="REVOKE CREATE ON SCHEMA public FROM PUBLIC") as caught:
        bootstrap(as_plain_caller)
    assert "\n" not in str(caught.value)
    assert bootstrap(url) == ["schema public closed to others"]
    assert bootstrap(url) == []
    assert bootstrap(as_plain_caller) == []
    caller = connectable(as_plain_caller)
    create = text("CREATE FUNCTION public.mine() RETURNS integer LANGUAGE sql RETURN 1")
    with pytest.raises(DBAPIError, match="permission denied for schema public"), caller.begin() as connection:
        connection.execute(create)
    caller.dispose()
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE plain_caller"))
    engine.dispose()


@pytest.fixture
def noted(engine: Engine) -> Iterator[tuple[Connection, list[str]]]:
    """A connection to a pool of 60,000 that notes the plans of statements inside functions."""
    rng = np.random.default_rng(2)
    with engine.begin() as connection:
        insert_galaxies(connection, rng.uniform(0, 20, 60_000), rng.uniform(-5, 5, 60_000))
    notes: list[str] = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE catalog.galaxy"))
        connection.execute(text("LOAD 'auto_explain'"))
        for setting in ("log_min_duration = 0", "log_nested_statements = on"):
            connection.execute(text(f"SET auto_explain.{setting}"))
        connection.execute(text("SET client_min_messages = log"))
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        driver.add_notice_handler(lambda notice: notes.append(str(notice.message_primary)))
        yield connection, notes


@pytest.mark.parametrize("call", ["cone(:ra, 1.5, 60)", "nearest(:ra, 1.5, 60)"])
def test_the_first_and_the_hundredth_call_read_a_few_rows_through_the_index(
    noted: tuple[Connection, list[str]], call: str
) -> None:
    connection, notes = noted
    for i in range(12):
        connection.execute(text(f"SELECT * FROM results.{call}"), {"ra": 1.0 + i}).all()
    plans = [note for note in notes if "q3c_radial_query_it" in note]
    assert len(plans) == 12
    for plan in (plans[0], plans[-1]):
        assert "Bitmap Index Scan on ix_galaxy_q3c" in plan
        assert "q3c_radial_query_it(centre_ra" in plan or "q3c_radial_query_it($" in plan, "planned anew for each call"
        assert "Seq Scan" not in plan
        assert "Gather" not in plan
        assert "JIT" not in plan
