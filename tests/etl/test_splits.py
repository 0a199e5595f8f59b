"""The split rule against hand-computed values, the guard, and leaks planted past the constraints."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from db.config import load_config
from db.errors import ConfigError, MissingInputError
from etl.draw.rules import DrawConfig
from etl.draw.stage import draw_negatives
from etl.errors import SamplingError
from etl.match import MatchConfig, match_lenses
from etl.splits import SplitConfig, assign_splits, cell_u, split_of_cells
from tests.builders import ARCSEC, cells, insert_galaxies, insert_lenses

BY_HAND = {
    0: ("859b5a68", "train"),
    1: ("5cf1c8e0", "train"),
    2: ("cb418dee", "val"),
    1000: ("299a313c", "train"),
    65535: ("e3ea56bf", "test"),
    196607: ("7f7f0418", "train"),
}
"""Cell -> first eight hexadecimal digits that `printf '%s' <cell>_42 | sha256sum` prints, and the split they mean."""


@pytest.mark.parametrize("pixel", BY_HAND)
def test_the_rule_gives_the_hand_computed_values(pixel: int) -> None:
    digits, split = BY_HAND[pixel]
    assert cell_u(np.array([pixel]), 42)[0] == int(digits, 16) / 2**32
    assert split_of_cells(np.array([pixel]), SplitConfig())[0] == split


def test_the_splits_have_their_shares_of_the_sky() -> None:
    words, counts = np.unique(split_of_cells(np.arange(196_608), SplitConfig()), return_counts=True)
    shares = dict(zip(words.tolist(), (counts / 196_608).tolist(), strict=True))
    for word, share in (("train", 0.70), ("val", 0.15), ("test", 0.15)):
        assert shares[word] == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 196_608))


def test_half_of_val_is_for_calibration_by_the_rule_of_the_database(drawn: Engine) -> None:
    assign_splits(drawn, SplitConfig())
    with drawn.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT c.split, c.is_calibration, sampling.is_calibration_cell(c.healpix_128, x.seed) "
                "FROM sampling.split_cell AS c JOIN sampling.split_scheme AS x USING (scheme_id)"
            )
        ).all()
    split, chosen, by_rule = (np.array(values) for values in zip(*rows, strict=True))
    np.testing.assert_array_equal(chosen, (split == "val") & by_rule)
    assert chosen[split == "val"].mean() == pytest.approx(0.5, abs=0.015)


def test_the_five_close_pairs_of_positives_stay_together(shared_data: Path) -> None:
    with (shared_data / "candidates" / "desi_candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    ra, dec = (np.array([float(row[name]) for row in rows]) for name in ("ra", "dec"))
    unit = np.stack([np.cos(np.radians(dec)) * np.cos(np.radians(ra)), np.cos(np.radians(dec)) * np.sin(np.radians(ra)),
                     np.sin(np.radians(dec))], axis=1)  # fmt: skip
    pairs = [
        (i, j)
        for i in range(len(ra))
        for j in np.flatnonzero(np.linalg.norm(unit[i + 1 :] - unit[i], axis=1) < np.radians(12 / 3600)) + i + 1
    ]
    assert len(pairs) == 5
    split = split_of_cells(cells(ra, dec), SplitConfig())
    assert all(split[i] == split[j] for i, j in pairs)


@pytest.fixture
def drawn(engine: Engine) -> Engine:
    """A draw with one negative on each side of a border between splits, 20 arcsec apart, and others far from it."""
    ra, dec = border_between_splits()
    with engine.begin() as connection:
        insert_lenses(connection, [ra + 200.0], [dec], ["A"])
        insert_galaxies(connection, [ra + 200.0], [dec])
        insert_galaxies(connection, [ra - 10 * ARCSEC, ra + 10 * ARCSEC, ra + 1.0, ra + 100.0], [dec] * 4)
    match_lenses(engine, MatchConfig())
    draw_negatives(engine, DrawConfig())
    return engine


def border_between_splits() -> tuple[float, float]:
    """A point of the equator halfway between two positions 20 arcsec apart whose cells belong to different splits."""
    ra = np.arange(20.0, 60.0, 5 * ARCSEC)
    split = split_of_cells(cells(ra, np.zeros(len(ra))), SplitConfig())
    left, right = split[:-4], split[4:]
    first = int(np.flatnonzero(left != right)[0])
    return float(ra[first] + 10 * ARCSEC), 0.0


def test_the_guard_drops_negatives_on_both_sides_of_a_border(drawn: Engine) -> None:
    summary = assign_splits(drawn, SplitConfig())
    with drawn.connect() as connection:
        pairs = connection.execute(text("SELECT separation_arcsec FROM sampling.close_pair")).scalars().all()
        members = connection.scalar(text("SELECT count(*) FROM sampling.draw_member"))
    assert pairs == [pytest.approx(20.0, abs=1e-6)]
    assert summary.n_guard_drops == 2
    assert summary.n_leaks == 0
    assert sum(summary.members.values()) == members == 5


def test_a_smaller_guard_lets_the_pair_stay(drawn: Engine) -> None:
    assert assign_splits(drawn, SplitConfig(guard_arcsec=19.0)).n_guard_drops == 0


def test_assigning_again_changes_nothing_and_other_rules_need_another_name(drawn: Engine) -> None:
    first = assign_splits(drawn, SplitConfig())
    assert assign_splits(drawn, SplitConfig()) == first
    with pytest.raises(SamplingError, match=r"seed 42 \(asked: 43\)"):
        assign_splits(drawn, SplitConfig(seed=43))
    assert assign_splits(drawn, SplitConfig(name="other", seed=43)).scheme == "other"


def test_a_draw_of_another_scheme_is_no_leak(drawn: Engine) -> None:
    assign_splits(drawn, SplitConfig())
    match_lenses(drawn, MatchConfig())
    draw_negatives(drawn, DrawConfig(name="second"))
    assert assign_splits(drawn, SplitConfig(name="other", seed=7)).n_leaks == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"train_below": 2},
        {"train_below": float("nan")},
        {"val_below": 0.1},
        {"guard_arcsec": -1},
        {"guard_arcsec": 1e9},
        {"seed": 99_999_999_999},
        {"name": ""},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(rule))):
        load_config(SplitConfig, None, **rule)


def test_one_cell_cannot_be_in_two_splits(drawn: Engine) -> None:
    assign_splits(drawn, SplitConfig())
    with pytest.raises(IntegrityError), drawn.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO sampling.split_cell (scheme_id, healpix_128, split) "
                "SELECT scheme_id, 0, 'test' FROM sampling.split_scheme"
            )
        )


TWICE = (
    "ALTER TABLE sampling.split_cell DROP CONSTRAINT pk_split_cell; "
    "INSERT INTO sampling.split_cell (scheme_id, healpix_128, split) "
    "SELECT scheme_id, 0, 'test' FROM sampling.split_scheme"
)


@pytest.mark.parametrize(
    ("leak", "violation"),
    [
        (TWICE, "cell in two splits"),
        (
            "UPDATE sampling.split_cell SET split = 'test', is_calibration = false WHERE healpix_128 = 0",
            "cell against the rule",
        ),
        (
            "UPDATE sampling.split_cell SET is_calibration = NOT is_calibration WHERE healpix_128 = 2",
            "calibration against the rule",
        ),
        (
            "DELETE FROM sampling.split_cell c USING sampling.draw_member m WHERE m.healpix_128 = c.healpix_128",
            "member without a cell",
        ),
        ("DELETE FROM sampling.guard_drop", "pair across splits"),
    ],
)
def test_a_leak_planted_past_the_constraint_is_seen(drawn: Engine, leak: str, violation: str) -> None:
    assign_splits(drawn, SplitConfig())
    with drawn.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM results.split_leakage")) == 0
        for statement in leak.split("; "):
            connection.execute(text(statement))
        found = connection.scalars(text("SELECT violation FROM results.split_leakage")).all()
    assert violation in found
    with pytest.raises(SamplingError, match="split_leakage"):
        assign_splits(drawn, SplitConfig())


def test_splits_before_a_draw_say_what_to_run(engine: Engine) -> None:
    with pytest.raises(MissingInputError, match="stronglens draw"):
        assign_splits(engine, SplitConfig())
