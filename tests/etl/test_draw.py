"""The draw in SQL against an independent numpy draw, and its promises: strata, disjoint pools, order, seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from db.config import load_config
from db.errors import BusyError, ConfigError, MissingInputError
from db.lock import only_one
from etl.draw.rules import DrawConfig
from etl.draw.stage import draw_negatives
from etl.errors import SamplingError
from etl.match import MatchConfig, match_lenses
from tests.builders import insert_galaxies, insert_lenses
from tests.etl.draw_keys import galaxy_key as key
from tests.etl.meanwhile import before_statement

N = 3000
CONFIG = DrawConfig(negatives_per_positive=40)


@dataclass
class Pool:
    ra: np.ndarray
    dec: np.ndarray
    columns: dict[str, np.ndarray]
    lens_ra: np.ndarray
    lens_dec: np.ndarray


def random_pool(order: np.ndarray | None = None) -> Pool:
    """3,000 galaxies of every kind on a patch of sky; the first 12 are where 12 lenses are."""
    rng = np.random.default_rng(11)
    ra, dec = rng.uniform(100, 104, N), rng.uniform(-2, 2, N)
    columns = {
        "type": rng.choice(["SER", "DEV", "REX", "EXP"], N),
        "nobs_z": rng.integers(0, 15, N).astype(np.int16),
        "nobs_g": rng.integers(0, 4, N).astype(np.int16),
        "flux_g": rng.uniform(-1, 30, N).astype(np.float32),
        "flux_r": rng.uniform(0.5, 30, N).astype(np.float32),
        "flux_z": rng.uniform(6, 60, N).astype(np.float32),
        "sersic": rng.uniform(0.5, 6, N).astype(np.float32),
        "shape_r_arcsec": rng.uniform(0.1, 3, N).astype(np.float32),
        "shape_e1": rng.uniform(-0.7, 0.7, N).astype(np.float32),
        "shape_e2": rng.uniform(-0.4, 0.4, N).astype(np.float32),
        "maskbits": rng.choice([0, 0, 0, 2, 1 << 5, 1 << 2, 1 << 13], N).astype(np.int32),
        "ls_id": (np.int64(10_000) << 40) + (np.int64(1) << 16) + np.arange(N, dtype=np.int64),
    }
    lens_ra, lens_dec = ra[:12].copy(), dec[:12].copy()
    if order is not None:
        ra, dec = ra[order], dec[order]
        columns = {name: value[order] for name, value in columns.items()}
    return Pool(ra, dec, columns, lens_ra, lens_dec)


def load(engine: Engine, pool: Pool) -> None:
    with engine.begin() as connection:
        insert_galaxies(connection, pool.ra, pool.dec, **pool.columns)
        insert_lenses(connection, pool.lens_ra, pool.lens_dec, ["A", "B"] * 6)
    match_lenses(engine, MatchConfig())


def members(engine: Engine) -> dict[int, tuple[str, str, str, str | None, float]]:
    query = text(
        "SELECT m.ls_id, m.pool, s.nobs_z_bin, s.type, m.category, m.inclusion_probability "
        "FROM sampling.draw_member m JOIN sampling.stratum s USING (stratum_id) WHERE m.label = 0"
    )
    with engine.connect() as connection:
        return {row.ls_id: tuple(row)[1:] for row in connection.execute(query)}  # type: ignore[misc]


def nobs_bin(nobs: int) -> str | None:
    return next((name for lo, hi, name in ((1, 2, "1-2"), (3, 5, "3-5"), (6, 10, "6-10"), (11, 99, "11+"))
                 if lo <= nobs <= hi), None)  # fmt: skip


def category(c: dict[str, object]) -> str | None:
    """DESIGN's confusers, written out once more in magnitudes."""
    mag_r = 22.5 - 2.5 * np.log10(c["flux_r"])
    if (c["type"] == "DEV" or (c["type"] == "SER" and c["sersic"] >= 4)) and c["flux_r"] >= 5:
        return "ring"
    ellipticity = np.hypot(c["shape_e1"], c["shape_e2"])
    if c["type"] in ("EXP", "SER", "DEV") and ellipticity >= 0.5 and c["shape_r_arcsec"] >= np.float32(0.6):
        return "edge_on"
    if c["shape_r_arcsec"] >= 2.0 and c["flux_r"] >= 3:
        return "large"
    if c["flux_g"] > 0 and (22.5 - 2.5 * np.log10(c["flux_g"])) - mag_r <= 0.4 and mag_r <= 20.5:
        return "blue_clumpy"
    return None


def independent_draw(  # noqa: C901 - one plain loop, so that it can be read beside DESIGN
    pool: Pool, per_positive: int
) -> dict[int, tuple[str, str, str, str | None, float]]:
    """The draw of DESIGN, galaxy by galaxy."""
    n2_each = round(per_positive * 0.15)
    rows = [{name: value[i] for name, value in pool.columns.items()} | {"ra": pool.ra[i], "dec": pool.dec[i]}
            for i in range(len(pool.ra))]  # fmt: skip
    positives: dict[tuple[str, str], int] = {}
    near = np.array(
        [
            np.hypot((r["ra"] - pool.lens_ra) * np.cos(np.radians(r["dec"])), r["dec"] - pool.lens_dec).min() * 3600
            <= 11
            for r in rows
        ]
    )
    for i in range(len(pool.lens_ra)):
        match = next(r for r in rows if r["ra"] == pool.lens_ra[i] and r["dec"] == pool.lens_dec[i])
        stratum = (nobs_bin(match["nobs_z"]), match["type"])
        if stratum[0] and stratum[1] != "EXP":
            positives[stratum] = positives.get(stratum, 0) + 1
    eligible: dict[tuple[str, str], list[tuple[int, str | None, bool]]] = {}
    bad_bits = sum(1 << bit for bit in (1, 5, 6, 7, 11, 12, 13))
    for r, excluded in zip(rows, near, strict=True):
        kind, bin_ = category(r), nobs_bin(r["nobs_z"])
        if (
            excluded
            or bin_ is None
            or r["nobs_g"] < 1
            or r["maskbits"] & bad_bits
            or 22.5 - 2.5 * np.log10(r["flux_z"]) >= 20
        ):
            continue
        type_ = str(r["type"])
        if type_ == "EXP":
            if kind is None:
                continue
            types = sorted(t for b, t in positives if b == bin_)
            total = sum(positives[bin_, t] for t in types)
            u, below = key(int(r["ls_id"]), "EXP") / 2**64 + 0.5, 0.0
            type_ = ""
            for t in types:
                below += positives[bin_, t]
                if u < below / total:
                    type_ = t
                    break
        if (bin_, type_) in positives:
            eligible.setdefault((bin_, type_), []).append((int(r["ls_id"]), kind, r["type"] == "EXP"))
    drawn: dict[int, tuple[str, str, str, str | None, float]] = {}
    for stratum, galaxies in eligible.items():
        confusers = sorted((g for g in galaxies if g[1]), key=lambda g: (key(g[0], "N2"), g[0]))
        n2 = confusers[: positives[stratum] * n2_each]
        rest = sorted((g for g in galaxies if not g[2] and g not in n2), key=lambda g: (key(g[0], "N1"), g[0]))
        n1 = rest[: positives[stratum] * (per_positive - n2_each)]
        p2, p1 = len(n2) / max(len(confusers), 1), len(n1) / max(len(rest), 1)
        for pool_name, chosen in (("N2", n2), ("N1", n1)):
            for ls_id, kind, is_exp in chosen:
                own2 = p2 if kind else 0.0
                probability = own2 + (1 - own2) * (0.0 if is_exp else p1)
                drawn[ls_id] = (pool_name, *stratum, kind if pool_name == "N2" else None, probability)
    return drawn


def test_the_draw_is_that_of_an_independent_recomputation(engine: Engine) -> None:
    pool = random_pool()
    load(engine, pool)
    draw_negatives(engine, CONFIG)
    found, wanted = members(engine), independent_draw(pool, 40)
    assert {k: v[:4] for k, v in found.items()} == {k: v[:4] for k, v in wanted.items()}
    for ls_id, row in found.items():
        assert row[4] == pytest.approx(wanted[ls_id][4])
    assert {row[0] for row in found.values()} == {"N1", "N2"}
    assert {row[3] for row in found.values() if row[0] == "N2"} == {"ring", "edge_on", "large", "blue_clumpy"}


def test_the_order_of_rows_does_not_matter(engine: Engine) -> None:
    load(engine, random_pool(np.random.default_rng(2).permutation(N)))
    draw_negatives(engine, CONFIG)
    assert set(members(engine)) == set(independent_draw(random_pool(), 40))


def test_another_seed_draws_others_and_the_same_draw_again_changes_nothing(engine: Engine) -> None:
    load(engine, random_pool())
    first = draw_negatives(engine, CONFIG)
    again = draw_negatives(engine, CONFIG)
    assert first.is_new
    assert not again.is_new
    assert again.n_by_pool == first.n_by_pool
    before = set(members(engine))
    draw_negatives(engine, CONFIG.model_copy(update={"seed": 7, "name": "seven"}))
    assert set(members(engine)) != before


def test_strata_persist_what_was_eligible_wanted_and_drawn(engine: Engine) -> None:
    pool = random_pool()
    load(engine, pool)
    summary = draw_negatives(engine, CONFIG)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM results.strata")).mappings().all()
        positives = connection.execute(
            text("SELECT count(*), count(stratum_id) FROM sampling.draw_member WHERE label = 1")
        ).one()
    assert len(rows) == 12
    found = members(engine)
    for row in rows:
        drawn = [m for m in found.values() if m[1:3] == (row["nobs_z_bin"], row["type"])]
        assert row["n_drawn_n1"] == sum(m[0] == "N1" for m in drawn)
        assert row["n_drawn_n2"] == sum(m[0] == "N2" for m in drawn)
        assert row["n_target_n1"] == 34 * row["n_positives"]
        assert row["n_target_n2"] == 6 * row["n_positives"]
        assert row["shortfall_n1"] == row["n_target_n1"] - row["n_drawn_n1"]
    assert positives == (12, sum(row["n_positives"] for row in rows))
    assert summary.n_positives_without_stratum == positives[0] - positives[1] > 0
    assert summary.shortfall_n1 == sum(row["shortfall_n1"] for row in rows)


WEIGHTED = text(
    "SELECT sum(1 / m.inclusion_probability) FROM sampling.draw_member m JOIN sampling.draw d USING (draw_id) "
    "JOIN catalog.galaxy g USING (ls_id) WHERE m.label = 0 AND d.name = :name AND g.type <> 'EXP'"
)


def test_inclusion_probabilities_weight_back_to_the_eligible_pool(engine: Engine) -> None:
    """Horvitz-Thompson: over many seeds the sum of 1/p of drawn galaxies of a stratum estimates its eligible number."""
    load(engine, random_pool())
    estimates = []
    for seed in range(12):
        draw_negatives(engine, DrawConfig(name=f"s{seed}", seed=seed, negatives_per_positive=7))
        with engine.connect() as connection:
            estimates.append(connection.scalar(WEIGHTED, {"name": f"s{seed}"}))
    with engine.connect() as connection:
        strata = connection.execute(text("SELECT nobs_z_bin, type FROM results.strata WHERE n_positives > 0")).all()
    everyone = independent_draw(random_pool(), 10_000)
    exp = {
        int(k) for k, t in zip(random_pool().columns["ls_id"], random_pool().columns["type"], strict=True) if t == "EXP"
    }
    total = sum(row[1:3] in {tuple(s) for s in strata} and ls_id not in exp for ls_id, row in everyone.items())
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert abs(np.mean(estimates) - total) < 4 * error + 0.01 * total


def test_a_draw_of_the_same_name_with_other_rules_is_refused(engine: Engine) -> None:
    load(engine, random_pool())
    draw_negatives(engine, CONFIG)
    with pytest.raises(SamplingError, match="other rules"):
        draw_negatives(engine, CONFIG.model_copy(update={"seed": 1}))


def test_an_existing_draw_tells_what_has_become_known_since(engine: Engine) -> None:
    pool = random_pool()
    load(engine, pool)
    assert draw_negatives(engine, CONFIG).news == ""
    victim = next(iter(members(engine)))
    place = int(np.flatnonzero(pool.columns["ls_id"] == victim)[0])
    with engine.begin() as connection:
        insert_lenses(connection, [pool.ra[place]], [pool.dec[place]], [None])
        insert_galaxies(connection, [10.0], [10.0])
    match_lenses(engine, MatchConfig())
    again = draw_negatives(engine, CONFIG)
    assert not again.is_new
    assert (again.n_lenses_since, again.n_galaxies_since, again.n_negatives_near_lens) == (1, 1, 1)
    assert "1 of its negatives" in again.news


def test_a_draw_after_new_galaxies_or_lenses_waits_for_their_match(engine: Engine) -> None:
    load(engine, random_pool())
    with engine.begin() as connection:
        insert_galaxies(connection, [10.0], [10.0])
    with pytest.raises(MissingInputError, match="loaded after the last match"):
        draw_negatives(engine, CONFIG)
    match_lenses(engine, MatchConfig())
    with engine.begin() as connection:
        insert_lenses(connection, [10.0], [10.0], [None])
    with pytest.raises(MissingInputError, match=r"loaded after the last match \(1 lenses"):
        draw_negatives(engine, CONFIG)
    match_lenses(engine, MatchConfig())
    assert draw_negatives(engine, CONFIG).is_new


@pytest.mark.parametrize("words", ["INSERT INTO sampling.stratum", "INSERT INTO sampling.draw_member", "draw_pass"])
@pytest.mark.parametrize("what", ["galaxies", "lens"])
def test_a_draw_during_which_something_is_loaded_is_not_kept(engine: Engine, words: str, what: str) -> None:
    pool = random_pool()
    load(engine, pool)
    near = pool.dec[:12] + 8 / 3600
    columns = {name: values[:12] for name, values in pool.columns.items() if name != "ls_id"} | {"maskbits": 0}

    def load_more() -> None:
        with engine.begin() as connection:
            if what == "galaxies":
                keys = pool.columns["ls_id"][:12] + N
                insert_galaxies(connection, pool.ra[:12], near, ls_id=keys, **columns)
            else:
                insert_lenses(connection, pool.ra[100:101], pool.dec[100:101], [None])

    before_statement(engine, words, load_more)
    with pytest.raises(BusyError, match=r"were loaded while the draw was made \(\d+ lenses to look for\)") as caught:
        draw_negatives(engine, CONFIG)
    assert "\n" not in str(caught.value)
    with engine.connect() as connection:
        counts = "SELECT (SELECT count(*) FROM sampling.draw) + (SELECT count(*) FROM sampling.draw_member)"
        assert connection.scalar(text(counts)) == 0
        run = connection.execute(text("SELECT status, error FROM provenance.run WHERE command = 'draw'")).one()
    assert (run.status, run.error) == ("failed", str(caught.value))
    match_lenses(engine, MatchConfig())
    assert draw_negatives(engine, CONFIG).is_new
    near_a_lens = set((pool.columns["ls_id"][:12] + N).tolist()) if what == "galaxies" else {pool.columns["ls_id"][100]}
    assert not near_a_lens & set(members(engine))


def test_no_match_runs_during_a_draw_and_no_draw_during_a_match(engine: Engine) -> None:
    load(engine, random_pool())
    refused: list[str] = []

    def match_meanwhile() -> None:
        with pytest.raises(BusyError, match="the match") as caught:
            match_lenses(engine, MatchConfig())
        refused.append(str(caught.value))

    with only_one(engine, "the match"), pytest.raises(BusyError, match="another process is at work on the match"):
        draw_negatives(engine, CONFIG)
    before_statement(engine, "INSERT INTO sampling.draw_member", match_meanwhile)
    assert draw_negatives(engine, CONFIG).is_new
    assert len(refused) == 1
    match_lenses(engine, MatchConfig())


def test_two_draws_at_once_do_not_race(engine: Engine) -> None:
    load(engine, random_pool())
    with only_one(engine, "draws"), pytest.raises(BusyError, match="another process"):
        draw_negatives(engine, CONFIG)


def test_a_footprint_without_positives_leaves_nothing_behind(engine: Engine) -> None:
    load(engine, random_pool())
    with pytest.raises(SamplingError, match="no positive"):
        draw_negatives(engine, CONFIG.model_copy(update={"dec_min_deg": 20.0}))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sampling.draw")) == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"negatives_per_positive": -5},
        {"negatives_per_positive": 0},
        {"n2_fraction": 2},
        {"mag_z_max": float("nan")},
        {"maskbits_clear": [-1]},
        {"maskbits_clear": [40]},
        {"seed": 99_999_999_999},
        {"tier_weights": {"A": 1}},
        {"tier_weights": {"A": 7, "B": 1}},
        {"dec_min_deg": 50},
        {"name": ""},
    ],
)
def test_a_rule_that_makes_no_sense_is_one_line_that_names_it(rule: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(rule))) as caught:
        load_config(DrawConfig, None, **rule)
    assert "\n" not in str(caught.value)


def test_two_surveys_need_a_name_and_never_mix(engine: Engine) -> None:
    load(engine, random_pool())
    with engine.begin() as connection:
        (mock,) = insert_galaxies(connection, [101.0], [1.0], survey="mock")
    match_lenses(engine, MatchConfig())
    with pytest.raises(SamplingError, match="several surveys"):
        draw_negatives(engine, CONFIG)
    draw_negatives(engine, CONFIG.model_copy(update={"survey": "dr10"}))
    with pytest.raises(DBAPIError, match="never mixes surveys"), engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO sampling.draw_member (draw_id, label, pool, ls_id, stratum_id, inclusion_probability, "
                "weight, ra, dec, healpix_128) SELECT draw_id, 0, 'N1', :mock, min(stratum_id), 1, 1, 101, 1, 0 "
                "FROM sampling.stratum GROUP BY draw_id"
            ),
            {"mock": int(mock)},
        )


def test_a_draw_before_its_inputs_says_what_to_run(engine: Engine) -> None:
    with pytest.raises(MissingInputError, match="sweeps load"):
        draw_negatives(engine, CONFIG)
    with engine.begin() as connection:
        insert_galaxies(connection, [10.0], [10.0])
    with pytest.raises(MissingInputError, match="stronglens match"):
        draw_negatives(engine, CONFIG)
