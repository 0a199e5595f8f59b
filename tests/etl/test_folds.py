"""Folds of the sky: their rule by hand, one test for every member, nothing of the locked test sky, planted leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import healpy
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from db.config import load_config
from db.embedded import EmbeddedServer
from db.engine import connectable
from db.errors import ConfigError, MissingInputError
from etl.draw.rules import DrawConfig
from etl.draw.stage import draw_negatives
from etl.errors import SamplingError
from etl.folds import FoldConfig, FoldSummary, assign_folds, fold_of_coarse, split_of_fold
from etl.match import MatchConfig, match_lenses
from etl.splits import SplitConfig, assign_splits, split_of_cells
from tests.builders import ARCSEC, insert_galaxies, insert_lenses

N_FOLDS = 2
CONFIG = FoldConfig(n_folds=N_FOLDS)


Assigned = tuple[Engine, list[FoldSummary]]


def u(words: str) -> float:
    """The uniform number of a string, one hash at a time."""
    return int(hashlib.sha256(words.encode()).hexdigest()[:8], 16) / 2**32


def rule(cell: int, fold: int, n_folds: int = N_FOLDS) -> str:
    """The split of a coarse cell, written out once more."""
    if int(u(f"{cell}_42_fold") * n_folds) == fold:
        return "test"
    return "train" if u(f"{cell}_42_val_{fold}") < 0.85 else "val"


@pytest.mark.parametrize("fold", range(N_FOLDS))
def test_the_rule_is_that_of_the_hashes(fold: int) -> None:
    cells = np.arange(768, dtype=np.int32)
    split, is_calibration = split_of_fold(cells, CONFIG, fold)
    assert split.tolist() == [rule(cell, fold) for cell in cells.tolist()]
    by_hand = [rule(cell, fold) == "val" and u(f"{cell}_42_calibration") < 0.5 for cell in cells.tolist()]
    assert is_calibration.tolist() == by_hand
    assert 0 < is_calibration.sum() < (split == "val").sum()


def test_every_coarse_cell_is_held_out_once_and_folds_are_of_a_size() -> None:
    folds = fold_of_coarse(np.arange(768, dtype=np.int32), CONFIG)
    counts = np.bincount(folds, minlength=N_FOLDS)
    assert counts.sum() == 768
    share = 1 / N_FOLDS
    assert np.abs(counts - 768 * share).max() < 4 * np.sqrt(768 * share * (1 - share))
    held_out = [split_of_fold(np.arange(768, dtype=np.int32), CONFIG, fold)[0] == "test" for fold in range(N_FOLDS)]
    np.testing.assert_array_equal(np.sum(held_out, axis=0), 1)


@pytest.fixture(scope="module")
def assigned(server: EmbeddedServer, template_database: str) -> Iterator[Assigned]:
    """A database for the whole module, with folds assigned, for tests that roll back what they write."""
    admin = connectable(server.url("postgres")).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE folds TEMPLATE {template_database}"))
    engine = connectable(server.url("folds"))
    fill(engine)
    yield engine, assign_folds(engine, CONFIG)
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE folds WITH (FORCE)"))
    admin.dispose()


def fill(engine: Engine) -> None:
    """A draw over thirty degrees of the equator, a positive and a negative on either side of a border of each kind."""
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 60, 40), rng.uniform(-20, 20, 40)
    near = [border(fold) for fold in range(N_FOLDS)]
    sides = np.array([(ra_ + side * 100 * ARCSEC, 0.0) for ra_ in near for side in (-1, 1)])
    with engine.begin() as connection:
        insert_lenses(connection, [*ra, *sides[:, 0]], [*dec, *sides[:, 1]], ["A"] * (40 + len(sides)))
        insert_galaxies(connection, [*ra, *sides[:, 0]], [*dec, *sides[:, 1]])
        insert_galaxies(connection, sides[:, 0], sides[:, 1] + 20 * ARCSEC)
        insert_galaxies(connection, rng.uniform(0, 60, 500), rng.uniform(-20, 20, 500))
    match_lenses(engine, MatchConfig())
    draw_negatives(engine, DrawConfig())
    assign_splits(engine, SplitConfig())


def border(fold: int) -> float:
    """A point of the equator between test and train of a fold, with nothing of the base's test sky about it."""
    ra = np.arange(0.0, 360.0, 50 * ARCSEC)
    fine = healpy.ang2pix(128, ra, np.zeros(len(ra)), nest=True, lonlat=True)
    coarse = healpy.ang2pix(8, ra, np.zeros(len(ra)), nest=True, lonlat=True)
    np.testing.assert_array_equal(fine // 256, coarse)
    by_cell = {cell: rule(cell, fold) for cell in np.unique(coarse).tolist()}
    kind = [by_cell[cell] for cell in coarse.tolist()]
    base = split_of_cells(fine, SplitConfig())
    for i in range(20, len(ra) - 20):
        if {kind[i], kind[i + 1]} == {"train", "test"} and "test" not in base[i - 5 : i + 6]:
            return float(ra[i] + 25 * ARCSEC)
    raise AssertionError("no such border")


def read(engine: Engine, statement: str) -> pd.DataFrame:
    with engine.connect() as connection:
        return pd.read_sql(text(statement), connection)


def members(engine: Engine) -> pd.DataFrame:
    """Members of the draw with their fold, by healpy and the hashes."""
    rows = read(engine, "SELECT member_id, label, ra, dec, healpix_128 FROM sampling.draw_member ORDER BY member_id")
    coarse = healpy.ang2pix(8, rows.ra, rows.dec, nest=True, lonlat=True)
    return rows.assign(coarse=coarse, is_locked=split_of_cells(rows.healpix_128.to_numpy(), SplitConfig()) == "test")


def left_by_hand(rows: pd.DataFrame, fold: int, guard_arcsec: float) -> set[int]:
    """Members that the guard of a fold leaves out, from all pairs."""
    here = rows[~rows.is_locked].assign(split=lambda r: [rule(cell, fold) for cell in r.coarse])
    rank = here.split.map({"train": 0, "val": 1, "test": 2}).to_numpy()
    xyz = healpy.ang2vec(here.ra.to_numpy(), here.dec.to_numpy(), lonlat=True)
    chord = np.linalg.norm(xyz[:, None] - xyz[None, :], axis=2)
    is_near = 2 * np.degrees(np.arcsin(chord / 2)) * 3600 <= guard_arcsec
    return set(here.member_id[(is_near & (rank[:, None] < rank[None, :])).any(axis=1)])


def test_the_guard_leaves_out_what_is_near_the_held_out_sky_and_all_of_the_locked_test_sky(assigned: Assigned) -> None:
    drawn, summaries = assigned
    rows = members(drawn)
    n_left = 0
    for fold, summary in enumerate(summaries):
        drops = read(
            drawn,
            "SELECT g.member_id, g.reason, g.separation_arcsec FROM sampling.guard_drop g "
            f"JOIN sampling.split_scheme x USING (scheme_id) WHERE x.name = 'cv2-f{fold}'",
        )
        by_reason = {reason: set(part.member_id) for reason, part in drops.groupby("reason")}
        wanted = left_by_hand(rows, fold, 300.0)
        n_left += len(wanted)
        assert by_reason["guard"] == wanted
        assert by_reason["test_sky"] == set(rows.member_id[rows.is_locked])
        assert (summary.n_guard_drops, summary.n_test_sky_drops) == (len(wanted), int(rows.is_locked.sum()))
        assert sum(summary.members.values()) == len(rows) - len(drops)
        assert summary.positives["test"] == int(
            rows.label[(rows.coarse.map(lambda cell, f=fold: rule(cell, f)) == "test") & ~rows.is_locked].sum()
        )
    assert n_left >= 2 * N_FOLDS  # on each border a positive and a negative, at least


def test_every_member_outside_the_locked_sky_is_held_out_exactly_once(assigned: Assigned) -> None:
    drawn, _ = assigned
    held_out = read(
        drawn,
        "SELECT m.member_id, count(*) AS n FROM sampling.draw_member m "
        "JOIN sampling.split_cell c USING (healpix_128) JOIN sampling.split_scheme x USING (scheme_id) "
        "WHERE x.kind = 'fold' AND c.split = 'test' AND NOT EXISTS (SELECT FROM sampling.guard_drop g "
        "WHERE g.scheme_id = x.scheme_id AND g.member_id = m.member_id) GROUP BY m.member_id",
    )
    rows = members(drawn)
    assert (held_out.n == 1).all()
    assert set(held_out.member_id) == set(rows.member_id[~rows.is_locked])


def test_assigning_folds_again_changes_nothing_and_other_rules_need_another_name(assigned: Assigned) -> None:
    drawn, first = assigned

    def counts() -> list[int]:
        tables = ("split_scheme", "split_cell", "guard_drop", "close_pair", "split_assignment")
        return [int(read(drawn, f"SELECT count(*) AS n FROM sampling.{name}").n[0]) for name in tables]

    before = counts()
    assert assign_folds(drawn, CONFIG) == first
    assert counts() == before
    for other in ({"seed": 7}, {"guard_arcsec": 60.0}, {"fold_nside": 4}, {"n_folds": 3}, {"val_fraction": 0.3}):
        with pytest.raises(SamplingError, match="split scheme cv2-f0 exists with"):
            assign_folds(drawn, FoldConfig(**({"name": "cv2", "n_folds": 2} | other)))
    assert counts() == before
    with pytest.raises(SamplingError, match=r"kind fold \(asked: hash\)"):
        assign_splits(drawn, SplitConfig(name="cv2-f0"))


def test_a_fold_needs_a_base_that_is_no_fold_and_guarded_every_draw(assigned: Assigned) -> None:
    drawn, _ = assigned
    with pytest.raises(MissingInputError, match=r"'none' is not there: run `stronglens splits assign` first"):
        assign_folds(drawn, FoldConfig(base="none"))
    with pytest.raises(SamplingError, match="is a fold itself"):
        assign_folds(drawn, FoldConfig(name="again", base="cv2-f0"))
    columns = "survey, data_release, seed, config_sha256, run_id, n_lenses_known, n_galaxies, key_rule"
    with drawn.begin() as connection:
        connection.execute(
            text(f"INSERT INTO sampling.draw (name, {columns}) SELECT 'second', {columns} FROM sampling.draw")
        )
    try:
        with pytest.raises(MissingInputError, match="was not assigned to every draw"):
            assign_folds(drawn, CONFIG)
    finally:
        with drawn.begin() as connection:
            connection.execute(text("DELETE FROM sampling.draw WHERE name = 'second'"))


@pytest.mark.parametrize(
    ("leak", "violation"),
    [
        (
            (
                "UPDATE sampling.split_cell c SET split = CASE split WHEN 'test' THEN 'train' ELSE 'test' END, "
                "is_calibration = false FROM sampling.split_scheme x "
                "WHERE x.scheme_id = c.scheme_id AND x.name = 'cv2-f1' AND c.healpix_128 = 77"
            ),
            "cell against the rule",
        ),
        (
            ("UPDATE sampling.split_scheme SET fold = 0, name = 'cv2-f9' WHERE name = 'cv2-f1'"),
            "cell against the rule",
        ),
        (
            (
                "UPDATE sampling.split_cell c SET is_calibration = NOT c.is_calibration FROM sampling.split_scheme x "
                "WHERE x.scheme_id = c.scheme_id AND x.name = 'cv2-f1' AND c.healpix_128 = (SELECT min(v.healpix_128) "
                "FROM sampling.split_cell v WHERE v.scheme_id = x.scheme_id AND v.split = 'val')"
            ),
            "calibration against the rule",
        ),
        ("DELETE FROM sampling.guard_drop WHERE reason = 'test_sky'", "test sky in a fold"),
        ("DELETE FROM sampling.guard_drop WHERE reason = 'guard'", "pair across splits"),
    ],
)
def test_a_leak_planted_in_a_fold_is_seen(assigned: Assigned, leak: str, violation: str) -> None:
    engine, _ = assigned
    with engine.connect() as connection:
        assert connection.execute(text(leak)).rowcount > 0
        found = connection.scalars(text("SELECT violation FROM results.split_leakage")).all()
        connection.rollback()
    assert set(found) == {violation}


@pytest.mark.parametrize(
    "given",
    [{"n_folds": 1}, {"n_folds": 99}, {"fold_nside": 3}, {"guard_arcsec": 0}, {"val_fraction": 1}, {"name": ""}],
)
def test_folds_that_make_no_sense_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        load_config(FoldConfig, None, **given)


def test_the_command_line_assigns_folds(assigned: Assigned, run_cli: Any, server: EmbeddedServer) -> None:
    url = server.url("folds").render_as_string(hide_password=False)
    done = run_cli("splits", "assign", "--folds", "2", STRONGLENS_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["cv2-f0", "cv2-f1"]
    assert "in the locked test sky" in done.stdout
    refused = run_cli("splits", "assign", "--folds", "1", STRONGLENS_DATABASE_URL=url)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
