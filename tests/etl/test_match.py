"""The match and the exclusion list against brute force over all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.errors import MissingInputError
from etl.match import MatchConfig, match_lenses
from tests.builders import ARCSEC, insert_galaxies, insert_lenses


def separation(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> np.ndarray:
    """Great-circle distance, arcsec (haversine)."""
    a, b, c, d = (np.radians(np.asarray(part)) for part in (ra1, dec1, ra2, dec2))
    h = np.sin((d - b) / 2) ** 2 + np.cos(b) * np.cos(d) * np.sin((c - a) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(h))) * 3600


LENS_RA = np.array([0.0, 359.9999, 120.0, 200.0, 10.0, 45.0])
LENS_DEC = np.array([0.0, 10.0, -89.9999, -30.0, 33.0, -45.0])


@pytest.fixture
def pool(engine: Engine) -> tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Six lenses, each but the last amid 60 galaxies within 20 arcsec; one galaxy at exactly 11 arcsec, one at 5."""
    rng = np.random.default_rng(3)
    ra = np.repeat(LENS_RA[:-1], 60) + rng.uniform(-20, 20, 300) * ARCSEC / np.cos(np.radians(LENS_DEC[:-1]).repeat(60))
    dec = np.clip(np.repeat(LENS_DEC[:-1], 60) + rng.uniform(-20, 20, 300) * ARCSEC, -90, 90)
    ra = np.concatenate([ra, [200.0, 45.0]]) % 360
    dec = np.concatenate([dec, [-30.0 + 11 * ARCSEC, -45.0 + 5 * ARCSEC]])
    with engine.begin() as connection:
        keys = insert_galaxies(connection, ra, dec)
        lens_ids = insert_lenses(connection, LENS_RA, LENS_DEC, ["A", "B", None, "A", "B", "A"])
    return engine, ra, dec, keys, lens_ids


def test_matches_and_neighbours_are_those_of_brute_force(
    pool: tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]],
) -> None:
    engine, ra, dec, keys, lens_ids = pool
    (summary,) = match_lenses(engine, MatchConfig())
    distance = separation(LENS_RA[:, None], LENS_DEC[:, None], ra[None], dec[None])
    with engine.connect() as connection:
        matches = connection.execute(text("SELECT lens_id, ls_id, separation_arcsec FROM catalog.lens_match")).all()
        neighbours = connection.execute(text("SELECT lens_id, ls_id FROM catalog.lens_neighbour")).all()
    wanted = {lens_ids[i]: int(keys[row.argmin()]) for i, row in enumerate(distance) if row.min() <= 5 + 1e-6}
    assert {row.lens_id: row.ls_id for row in matches} == wanted
    for row in matches:
        i, j = lens_ids.index(row.lens_id), int(np.flatnonzero(keys == row.ls_id)[0])
        assert row.separation_arcsec == pytest.approx(distance[i, j], abs=2e-6)
    inside = zip(*np.nonzero(distance <= 11 + 1e-6), strict=True)
    assert {(row.lens_id, row.ls_id) for row in neighbours} == {(lens_ids[i], int(keys[j])) for i, j in inside}
    assert (lens_ids[3], int(keys[300])) in {(row.lens_id, row.ls_id) for row in neighbours}
    assert summary.n_matched == len(wanted)
    assert summary.n_positives_matched == len(wanted) - 1


def test_matching_again_changes_nothing(pool: tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]]) -> None:
    engine = pool[0]
    digest = text(
        "SELECT (SELECT md5(string_agg(m::text || m.xmin::text, ',' ORDER BY lens_id)) FROM catalog.lens_match m), "
        "(SELECT md5(string_agg(n::text || n.xmin::text, ',' ORDER BY lens_id, ls_id)) FROM catalog.lens_neighbour n)"
    )
    match_lenses(engine, MatchConfig())
    with engine.connect() as connection:
        before = connection.execute(digest).one()
    (summary,) = match_lenses(engine, MatchConfig())
    with engine.connect() as connection:
        assert connection.execute(digest).one() == before
    assert summary.n_new_neighbours == 0


def test_a_nearer_galaxy_of_a_later_file_takes_the_match(
    pool: tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]],
) -> None:
    engine, _, _, _, lens_ids = pool
    match_lenses(engine, MatchConfig())
    with engine.begin() as connection:
        (nearer,) = insert_galaxies(connection, [45.0], [-45.0 + 0.5 * ARCSEC])
    match_lenses(engine, MatchConfig())
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT ls_id, separation_arcsec FROM catalog.lens_match WHERE lens_id = :lens"), {"lens": lens_ids[5]}
        ).one()
    assert found.ls_id == nearer
    assert found.separation_arcsec == pytest.approx(0.5, abs=1e-6)


def test_surveys_are_matched_apart(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_lenses(connection, [10.0], [1.0], ["A"])
        insert_galaxies(connection, [10.0], [1.0 + 2 * ARCSEC])
        insert_galaxies(connection, [10.0], [1.0 + 1 * ARCSEC], survey="mock")
    summaries = match_lenses(engine, MatchConfig())
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT survey, round(separation_arcsec::numeric, 3) FROM catalog.lens_match")
        ).all()
    assert {(survey, float(value)) for survey, value in rows} == {("dr10", 2.0), ("mock", 1.0)}
    assert [summary.survey for summary in summaries] == ["dr10", "mock"]


def test_a_match_before_its_inputs_says_what_to_run(engine: Engine) -> None:
    with pytest.raises(MissingInputError, match="catalog load"):
        match_lenses(engine, MatchConfig())
    with engine.begin() as connection:
        insert_lenses(connection, [10.0], [1.0], ["A"])
    with pytest.raises(MissingInputError, match="sweeps load"):
        match_lenses(engine, MatchConfig())
