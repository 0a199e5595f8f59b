"""Q3C against brute force: wrap, poles, the exact radius, duplicates, an empty table, and the plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Double, Integer, Select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db import sky

ARCSEC = 1 / 3600


class Base(DeclarativeBase):
    pass


class Star(Base):
    __tablename__ = "star"
    __table_args__ = ({"schema": "pg_temp"},)
    star_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    ra: Mapped[float] = mapped_column(Double)
    dec: Mapped[float] = mapped_column(Double)


class Probe(Base):
    __tablename__ = "probe"
    __table_args__ = ({"schema": "pg_temp"},)
    probe_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    ra: Mapped[float] = mapped_column(Double)
    dec: Mapped[float] = mapped_column(Double)


def separation(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> np.ndarray:
    """Great-circle distance, arcsec, by the chord of unit vectors; shape of the broadcast inputs."""
    a, b = unit(ra1, dec1), unit(ra2, dec2)
    return np.degrees(2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=-1) / 2, 0, 1))) * 3600


def unit(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    ra_, dec_ = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec_) * np.cos(ra_), np.cos(dec_) * np.sin(ra_), np.sin(dec_)], axis=-1)


def crowded_sky() -> tuple[np.ndarray, np.ndarray]:
    """Stars within about a minute of awkward places: the wrap, both poles, the equator, a cube-face corner."""
    rng = np.random.default_rng(5)
    ras, decs = [], []
    for ra0, dec0 in ((0.0, 0.0), (360.0, 30.0), (120.0, 90.0), (10.0, -90.0), (45.0, 35.264389), (200.0, 5.0)):
        dec = np.clip(dec0 + rng.uniform(-60, 60, 400) * ARCSEC, -90, 90)
        if abs(dec0) == 90:
            ra = rng.uniform(0, 360, 400)
        else:
            ra = (ra0 + rng.uniform(-60, 60, 400) * ARCSEC / np.cos(np.radians(dec0))) % 360
        ras.append(ra)
        decs.append(dec)
    ra, dec = np.concatenate(ras), np.concatenate(decs)
    return np.concatenate([ra, ra[:5]]), np.concatenate([dec, dec[:5]])  # five exact duplicates


@pytest.fixture
def stars(connection: Connection) -> tuple[np.ndarray, np.ndarray]:
    for name, key in (("star", "star_id"), ("probe", "probe_id")):
        connection.execute(
            text(f"CREATE TEMP TABLE {name} ({key} int PRIMARY KEY, ra float8, dec float8) ON COMMIT DROP")
        )
        connection.execute(text(f"CREATE INDEX {name}_q3c ON {name} (q3c_ang2ipix(ra, dec))"))
    ra, dec = crowded_sky()
    insert_rows(connection, "star", ra, dec)
    return ra, dec


def insert_rows(connection: Connection, name: str, ra: np.ndarray, dec: np.ndarray) -> None:
    rows = [{"k": k, "ra": r, "dec": d} for k, (r, d) in enumerate(zip(ra.tolist(), dec.tolist(), strict=True))]
    connection.execute(text(f"INSERT INTO {name} VALUES (:k, :ra, :dec)"), rows)
    connection.execute(text(f"ANALYZE {name}"))


CENTRES = [(0.0, 0.0), (359.999, 30.0), (0.001, 30.0), (0.0, 90.0), (77.0, -90.0), (45.0, 35.264), (200.0, 5.0)]


@pytest.mark.parametrize(("ra0", "dec0"), CENTRES)
@pytest.mark.parametrize("radius_arcsec", [2.0, 30.0, 3600.0])
def test_a_cone_finds_what_brute_force_finds(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray], ra0: float, dec0: float, radius_arcsec: float
) -> None:
    ra, dec = stars
    distance = separation(ra, dec, np.array(ra0), np.array(dec0))
    cone = sky.cone(Star, centre=sky.Position(ra0, dec0), radius_arcsec=radius_arcsec)
    found_rows = [(row.star_id, row.separation_arcsec) for row in connection.execute(cone)]
    keys, found = [key for key, _ in found_rows], np.array([value for _, value in found_rows])
    assert set(keys) == set(np.flatnonzero(distance <= radius_arcsec).tolist())
    assert np.all(np.diff(found) >= 0)
    np.testing.assert_allclose(found, distance[keys], atol=2e-6)


@pytest.mark.parametrize(("ra0", "dec0"), CENTRES)
def test_the_exact_radius_is_inside(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray], ra0: float, dec0: float
) -> None:
    step = -11 * ARCSEC if dec0 > 0 else 11 * ARCSEC
    connection.execute(text("INSERT INTO star VALUES (999999, :ra, :dec)"), {"ra": ra0, "dec": dec0 + step})
    inside = sky.cone(Star, centre=sky.Position(ra0, dec0), radius_arcsec=11.0)
    outside = sky.cone(Star, centre=sky.Position(ra0, dec0), radius_arcsec=11.0 - 1e-4)
    assert 999999 in {row.star_id for row in connection.execute(inside)}
    assert 999999 not in {row.star_id for row in connection.execute(outside)}


def test_a_crossmatch_finds_every_pair_that_brute_force_finds(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray]
) -> None:
    ra, dec = stars
    probe_ra, probe_dec = (np.array(part) for part in zip(*CENTRES, strict=True))
    insert_rows(connection, "probe", probe_ra, probe_dec)
    pairs = sky.crossmatch(Probe, Star, radius_arcsec=25.0, columns=(Probe.probe_id, Star.star_id))
    found = {(row.probe_id, row.star_id) for row in connection.execute(pairs)}
    distance = separation(probe_ra[:, None], probe_dec[:, None], ra[None], dec[None])
    wanted = {(int(i), int(j)) for i, j in zip(*np.nonzero(distance <= 25.0), strict=True)}
    assert found == wanted
    assert len(wanted) > 100


def test_nearest_is_the_nearest_and_leaves_the_lonely_out(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray]
) -> None:
    ra, dec = stars
    probe_ra = np.array([c[0] for c in CENTRES] + [300.0])
    probe_dec = np.array([c[1] for c in CENTRES] + [-45.0])
    insert_rows(connection, "probe", probe_ra, probe_dec)
    nearest = sky.nearest(Probe, Star, radius_arcsec=5.0, key=Star.star_id).add_columns(Probe.probe_id)
    found = {row.probe_id: (row.matched_key, row.separation_arcsec) for row in connection.execute(nearest)}
    distance = separation(probe_ra[:, None], probe_dec[:, None], ra[None], dec[None])
    reached = np.flatnonzero(distance.min(axis=1) <= 5.0)
    assert set(found) == set(reached.tolist())
    for probe in reached:
        assert found[int(probe)][1] == pytest.approx(distance[probe].min(), abs=2e-6)
        assert distance[probe, found[int(probe)][0]] == pytest.approx(distance[probe].min(), abs=1e-9)


def test_a_tie_goes_to_the_smaller_key(connection: Connection, stars: tuple[np.ndarray, np.ndarray]) -> None:
    ra, dec = stars  # the first five stars are repeated at the end
    insert_rows(connection, "probe", ra[:5], dec[:5])
    nearest = sky.nearest(Probe, Star, radius_arcsec=1.0, key=Star.star_id).add_columns(Probe.probe_id)
    assert {row.probe_id: row.matched_key for row in connection.execute(nearest)} == {k: k for k in range(5)}


def test_nearest_takes_only_rows_that_its_condition_lets_in(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray]
) -> None:
    ra, dec = stars
    insert_rows(connection, "probe", ra[:1], dec[:1])
    nearest = sky.nearest(Probe, Star, radius_arcsec=60.0, key=Star.star_id, where=Star.star_id > 10)
    row = connection.execute(nearest).one()
    distance = separation(ra, dec, ra[0], dec[0])
    distance[:11] = np.inf
    assert row.matched_key == int(distance.argmin())


def test_an_empty_table_gives_no_rows(connection: Connection, stars: tuple[np.ndarray, np.ndarray]) -> None:
    assert connection.execute(sky.crossmatch(Probe, Star, radius_arcsec=5.0, columns=(Probe.probe_id,))).all() == []
    assert connection.execute(sky.nearest(Star, Probe, radius_arcsec=5.0, key=Probe.probe_id)).all() == []
    assert connection.execute(sky.cone(Probe, centre=sky.Position(0.0, 0.0), radius_arcsec=5.0)).all() == []


@pytest.mark.parametrize("radius_arcsec", [0.0, -1.0, 3601.0, float("nan")])
def test_a_radius_that_makes_no_sense_is_refused(radius_arcsec: float) -> None:
    with pytest.raises(ValueError, match="radius"):
        sky.cone(Star, centre=sky.Position(0.0, 0.0), radius_arcsec=radius_arcsec)


def fill(connection: Connection) -> None:
    """Make the star table long enough that the planner has reason to use an index."""
    grid = "SELECT 1000000 + i, (i * 7.31) % 360, -80 + (i * 0.37) % 160 FROM generate_series(1, 60000) i"
    connection.execute(text(f"INSERT INTO star {grid}"))
    connection.execute(text("ANALYZE star"))


def plan(connection: Connection, statement: Select[Any]) -> str:
    compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    connection.execute(text("SET LOCAL enable_seqscan = on"))
    return "\n".join(connection.scalars(text(f"EXPLAIN {compiled}")))


def test_the_plans_search_the_long_table_through_its_q3c_index(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray]
) -> None:
    rng = np.random.default_rng(1)
    fill(connection)
    insert_rows(connection, "probe", rng.uniform(0, 360, 50), rng.uniform(-80, 80, 50))
    plans = [
        plan(connection, sky.cone(Star, centre=sky.Position(12.0, 3.0), radius_arcsec=10.0)),
        plan(connection, sky.crossmatch(Probe, Star, radius_arcsec=10.0, columns=(Probe.probe_id, Star.star_id))),
        plan(connection, sky.nearest(Probe, Star, radius_arcsec=10.0, key=Star.star_id)),
    ]
    for text_ in plans:
        assert "star_q3c" in text_, text_
        assert "Seq Scan on star" not in text_, text_


def test_the_wrong_order_of_arguments_would_lose_the_index(
    connection: Connection, stars: tuple[np.ndarray, np.ndarray]
) -> None:
    """The trap that this module hides: if this fails, Q3C has changed and the module may be simplified."""
    fill(connection)
    wrong = "EXPLAIN SELECT star_id FROM star WHERE q3c_radial_query(12.0, 3.0, ra, dec, 0.001)"
    assert "star_q3c" not in "\n".join(connection.scalars(text(wrong)))
