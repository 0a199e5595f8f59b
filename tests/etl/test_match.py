"""The match and the exclusion list against brute force over all pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, event, text

from db.bulk import begin_bulk, build_indexes
from db.errors import BusyError, MissingInputError
from etl.match import MatchConfig, count_stale_lenses, match_lenses
from etl.stale import near_box
from etl.sweeps.box import box_of_name
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


ROWS = {
    "lens_match": "SELECT lens_id, survey, ls_id, separation_arcsec FROM catalog.lens_match ORDER BY 1, 2",
    "lens_neighbour": "SELECT lens_id, ls_id, separation_arcsec FROM catalog.lens_neighbour ORDER BY 1, 2",
}


def found_rows(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {name: [tuple(row) for row in connection.execute(text(sql))] for name, sql in ROWS.items()}


def forget(engine: Engine) -> None:
    """Take away everything that the match has written."""
    with engine.begin() as connection:
        for name in ("lens_match", "lens_neighbour", "matched_lens", "matched_file"):
            connection.execute(text(f"DELETE FROM catalog.{name}"))


class Sky:
    """Sweep files of one degree around ra 0 to 4 and 358 to 360, and lenses among their galaxies."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rng = np.random.default_rng(11)
        self.next_key = 10_000 << 40
        self.files: dict[str, int] = {}

    def positions(self, name: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Crowded corners and edges of a file's box: pairs across the border of two files are common."""
        box = box_of_name(name)
        assert box is not None
        edge = self.rng.uniform(0, 40 * ARCSEC, n)
        ra = np.where(self.rng.random(n) < 0.5, box.ra_min + edge, box.ra_max - edge) % 360
        return ra, box.dec_min + self.rng.uniform(0, 60 * ARCSEC, n)

    def add_lenses(self, n: int) -> None:
        name = str(self.rng.choice(list(BOXES)))
        ra, dec = self.positions(name, n)
        with self.engine.begin() as connection:
            insert_lenses(connection, ra, dec, ["A"] * n)

    def add_file(self, name: str) -> None:
        ra, dec = self.positions(name, 150)
        keys = self.next_key + np.arange(150)
        self.next_key += 150
        with self.engine.begin() as connection:
            insert_galaxies(connection, ra, dec, ls_id=keys)
            self.files[name] = int(connection.scalar(text("SELECT max(sweep_file_id) FROM catalog.sweep_file")) or 0)
            connection.execute(
                text("UPDATE catalog.sweep_file SET name = :name WHERE sweep_file_id = :file"),
                {"name": name, "file": self.files[name]},
            )

    def replace_file(self, name: str) -> None:
        """As the loader does: what is gone takes its matches along, what stays keeps its key and may have moved."""
        file = {"file": self.files[name]}
        in_file = "ls_id IN (SELECT ls_id FROM catalog.galaxy WHERE sweep_file_id = :file AND ls_id % 3 = 0)"
        with self.engine.begin() as connection:
            for table in ("lens_match", "lens_neighbour", "galaxy"):
                connection.execute(text(f"DELETE FROM catalog.{table} WHERE {in_file}"), file)
            moved = "UPDATE catalog.galaxy SET dec = dec + 0.0008 WHERE sweep_file_id = :file AND ls_id % 3 = 1"
            connection.execute(text(moved), file)
            connection.execute(
                text("UPDATE catalog.sweep_file SET loaded_at = clock_timestamp() WHERE sweep_file_id = :file"), file
            )

    def remove_file(self, name: str) -> None:
        file = {"file": self.files.pop(name)}
        in_file = "ls_id IN (SELECT ls_id FROM catalog.galaxy WHERE sweep_file_id = :file)"
        with self.engine.begin() as connection:
            for table in ("lens_match", "lens_neighbour", "galaxy"):
                connection.execute(text(f"DELETE FROM catalog.{table} WHERE {in_file}"), file)
            connection.execute(text("DELETE FROM catalog.sweep_file WHERE sweep_file_id = :file"), file)


BOXES = ("sweep-000m001-001p000.fits", "sweep-001m001-002p000.fits", "sweep-359m001-360p000.fits",
         "sweep-002m001-003p000.fits", "sweep-003p088-004p089.fits")  # fmt: skip


def brute_force(connection: Connection) -> tuple[dict[int, int], set[tuple[int, int]]]:
    """Match of each lens and all neighbours, from every pair."""
    lenses = np.array(connection.execute(text("SELECT lens_id, ra, dec FROM catalog.lens")).all(), dtype=float)
    rows = connection.execute(text("SELECT ls_id, ra, dec FROM catalog.galaxy ORDER BY ls_id")).all()
    keys = np.array([row[0] for row in rows], dtype=np.int64)
    ra, dec = np.array([row[1:] for row in rows], dtype=float).reshape(-1, 2).T
    distance = separation(lenses[:, 1, None], lenses[:, 2, None], ra[None], dec[None])
    matches = {int(lens): int(keys[d.argmin()]) for lens, d in zip(lenses[:, 0], distance, strict=True) if d.min() <= 5}
    near = {(int(lenses[i, 0]), int(keys[j])) for i, j in zip(*np.nonzero(distance <= 11), strict=True)}
    return matches, near


def test_any_sequence_of_lenses_and_files_ends_where_a_match_from_scratch_ends(engine: Engine) -> None:
    sky = Sky(engine)
    sky.add_lenses(15)
    for name in BOXES[:3]:
        sky.add_file(name)
    n_looked_for = []
    for step in range(12):
        absent = [name for name in BOXES if name not in sky.files]
        kind = ("file", "lenses", "replace", "remove")[step % 4]
        if kind == "lenses" or (kind == "file" and not absent):
            sky.add_lenses(10)
        elif kind == "file":
            sky.add_file(str(sky.rng.choice(absent)))
        elif kind == "replace" or len(sky.files) == 1:
            sky.replace_file(str(sky.rng.choice(list(sky.files))))
        else:
            sky.remove_file(str(sky.rng.choice(list(sky.files))))
        with engine.connect() as connection:
            n_stale = count_stale_lenses(connection, "dr10", 10)
        (summary,) = match_lenses(engine, MatchConfig())
        assert summary.n_looked_for == n_stale
        n_looked_for.append((summary.n_looked_for, summary.n_lenses))
        with engine.connect() as connection:
            assert count_stale_lenses(connection, "dr10", 10) == 0
            matches, near = brute_force(connection)
        rows = found_rows(engine)
        assert {row[0]: row[2] for row in rows["lens_match"]} == matches
        assert {row[:2] for row in rows["lens_neighbour"]} == near
        assert summary.n_neighbours == len({ls_id for _, ls_id in near})
    incremental = found_rows(engine)
    forget(engine)
    match_lenses(engine, MatchConfig())
    assert found_rows(engine) == incremental
    assert len(incremental["lens_match"]) > 20
    assert sum(0 < some < n for some, n in n_looked_for) >= 6, n_looked_for


def test_only_new_lenses_are_looked_for(pool: tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]]) -> None:
    engine = pool[0]
    (first,) = match_lenses(engine, MatchConfig())
    with engine.begin() as connection:
        insert_lenses(connection, [120.0, 300.0], [10.0, 10.0], ["A", None])
    (second,) = match_lenses(engine, MatchConfig())
    (third,) = match_lenses(engine, MatchConfig())
    assert (first.n_looked_for, second.n_looked_for, third.n_looked_for) == (6, 2, 0)
    assert second.n_lenses == third.n_lenses == 8


def test_other_radii_look_for_every_lens_and_shrink_the_lists(
    pool: tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]],
) -> None:
    engine, ra, dec, _, _ = pool
    match_lenses(engine, MatchConfig())
    (summary,) = match_lenses(engine, MatchConfig(match_radius_arcsec=1.0, exclusion_radius_arcsec=4.0))
    distance = separation(LENS_RA[:, None], LENS_DEC[:, None], ra[None], dec[None])
    assert summary.n_looked_for == 6
    assert summary.n_matched == (distance.min(axis=1) <= 1).sum()
    assert len(found_rows(engine)["lens_neighbour"]) == (distance <= 4).sum()
    with engine.connect() as connection:
        assert count_stale_lenses(connection, "dr10", 10) == 6  # the command's own radii are the contract


@pytest.mark.parametrize("name", [*BOXES, "sweep-010p085-020p090.fits", "sweep-350m090-360m085.fits"])
def test_no_lens_within_reach_of_a_box_is_passed_over(name: str) -> None:
    box = box_of_name(name)
    assert box is not None
    rng = np.random.default_rng(8)
    width = (box.ra_max - box.ra_min) % 360
    ra = (box.ra_min + width * rng.choice([0.0, 1.0, 0.5], 4000)) % 360
    dec = box.dec_min + (box.dec_max - box.dec_min) * rng.choice([0.0, 1.0, 0.5], 4000)
    angle, distance = rng.uniform(0, 2 * np.pi, 4000), np.radians(11 * ARCSEC * np.sqrt(rng.uniform(0, 1, 4000)))
    d = np.radians(dec)
    lens_dec = np.arcsin(np.clip(np.sin(d) * np.cos(distance) + np.cos(d) * np.sin(distance) * np.cos(angle), -1, 1))
    turn = np.arctan2(np.sin(angle) * np.sin(distance) * np.cos(d), np.cos(distance) - np.sin(d) * np.sin(lens_dec))
    lens_ra = (ra + np.degrees(turn)) % 360
    assert separation(ra, dec, lens_ra, np.degrees(lens_dec)).max() <= 11.001
    assert near_box(box, lens_ra, np.degrees(lens_dec), 11.0).all()
    far_ra, far_dec = rng.uniform(0, 360, 4000), rng.uniform(-84, 84, 4000)
    offset = (far_ra - box.ra_min + 0.5) % 360
    is_far = (offset > width + 1) | (far_dec < box.dec_min - 1) | (far_dec > box.dec_max + 1)
    assert not near_box(box, far_ra, far_dec, 11.0)[is_far].any()
    assert is_far.sum() > 3000


def test_a_match_during_the_first_load_is_refused(engine: Engine) -> None:
    assert begin_bulk(engine)
    with engine.begin() as connection:
        insert_lenses(connection, [10.0], [1.0], ["A"])
        insert_galaxies(connection, [10.0], [1.0])
    with pytest.raises(MissingInputError, match="no indexes yet") as caught:
        match_lenses(engine, MatchConfig())
    assert "\n" not in str(caught.value)
    build_indexes(engine)
    (summary,) = match_lenses(engine, MatchConfig())
    assert summary.n_matched == 1


def test_galaxies_that_go_while_the_match_runs_stop_it(
    pool: tuple[Engine, np.ndarray, np.ndarray, np.ndarray, list[int]],
) -> None:
    engine = pool[0]

    def take_all_out(_survey: str, _done: int, _total: int) -> None:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM catalog.galaxy"))

    with pytest.raises(BusyError, match="run `stronglens match` again") as caught:
        match_lenses(engine, MatchConfig(), take_all_out)
    assert "\n" not in str(caught.value)
    assert found_rows(engine) == {"lens_match": [], "lens_neighbour": []}


def test_the_search_goes_through_the_pools_index(engine: Engine) -> None:
    """With 33,600 lenses and 200,000 galaxies; the plan is that of the very statement that runs."""
    rng = np.random.default_rng(4)
    with engine.begin() as connection:
        insert_galaxies(connection, rng.uniform(0, 30, 200_000), rng.uniform(-10, 10, 200_000))
        connection.execute(
            text(
                "INSERT INTO catalog.lens (name, ra, dec, healpix_128, is_lens_claim, lens_type, discovery) "
                "SELECT 'L' || i, (i * 0.7310001) % 30, -10 + (i * 0.37001) % 20, 0, true, 'galaxy', 'other' "
                "FROM generate_series(1, 33600) i"
            )
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE catalog.galaxy, catalog.lens"))
    plans = {}

    @event.listens_for(engine, "before_cursor_execute")
    def explain(connection: Connection, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        if sql.startswith(("INSERT INTO pg_temp.pair", "DELETE", "INSERT INTO catalog.lens_")):
            with connection.connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + sql, parameters)
                plans[sql] = "\n".join(row[0] for row in cursor.fetchall())

    (summary,) = match_lenses(engine, MatchConfig())
    assert summary.n_looked_for == 33_600
    search = next(plan for sql, plan in plans.items() if "pg_temp.pair" in sql.split("SELECT")[0])
    assert "ix_galaxy_q3c" in search
    assert len(plans) >= 5
    for plan in plans.values():
        assert "Seq Scan on galaxy" not in plan, plan
