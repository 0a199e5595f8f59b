"""Hard-negative mining against a recomputation in plain Python: who is taken, who must never be, and where it leads."""

from __future__ import annotations

import hashlib

import healpy
import numpy as np
import pytest
from sqlalchemy import Engine, text

from db.config import load_config
from db.errors import BusyError, ConfigError, MissingInputError
from etl.cutouts.targets import find_draw, load_targets
from etl.draw.delete import delete_draw
from etl.draw.mine import MineConfig, mine_negatives
from etl.errors import SamplingError
from etl.splits import SplitConfig, assign_splits
from tests.builders import insert_lenses
from tests.conftest import RunCli
from tests.etl.draw_keys import galaxy_key
from tests.etl.draw_world import drawn_pool, insert_model, insert_scored_cutouts
from tests.etl.meanwhile import before_statement
from tests.etl.test_draw import N, Pool, members, nobs_bin

N_MINED = 40


def is_train(ra: float, dec: float) -> bool:
    pixel = healpy.ang2pix(128, ra, dec, nest=True, lonlat=True)
    return int.from_bytes(hashlib.sha256(f"{pixel}_42".encode()).digest()[:4], "big") / 2**32 < 0.70


def separations(pool: Pool, ra: float, dec: float) -> np.ndarray:
    return np.hypot((pool.ra - ra) * np.cos(np.radians(dec)), pool.dec - dec) * 3600


def scored_world(engine: Engine) -> tuple[Pool, dict[int, float]]:
    """A draw, its splits, a model that scored every galaxy, and two lenses that became known afterwards."""
    pool = drawn_pool(engine)
    assign_splits(engine, SplitConfig())
    with engine.begin() as connection:
        scores = insert_scored_cutouts(connection, insert_model(connection))
    return pool, scores


def test_the_highest_scored_non_lenses_of_the_training_sky_are_taken(engine: Engine) -> None:
    pool, scores = scored_world(engine)
    before = members(engine)
    ids = pool.columns["ls_id"].tolist()
    outside = [i for i in np.argsort([-scores[k] for k in ids], kind="stable") if ids[i] not in before]
    victim = ids.index(next(iter(before)))
    hidden = next(i for i in outside if is_train(pool.ra[i], pool.dec[i]) and nobs_bin(pool.columns["nobs_z"][i]))
    with engine.begin() as connection:
        insert_lenses(connection, pool.ra[[victim, hidden]], pool.dec[[victim, hidden]], [None, None])

    done = mine_negatives(engine, MineConfig(model="m1", n=N_MINED))

    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT m.*, s.nobs_z_bin, s.type FROM sampling.draw_member m JOIN sampling.draw d USING (draw_id) "
                "LEFT JOIN sampling.stratum s USING (stratum_id) WHERE d.name = 'default-mined-m1'"
            )
        ).all()
        positives = dict(
            connection.execute(
                text("SELECT nobs_z_bin || type, n_positives FROM results.strata WHERE draw_name = 'default'")
            ).all()
        )
        lenses = connection.execute(text("SELECT ra, dec FROM catalog.lens")).all()
        strata = connection.execute(text("SELECT * FROM results.strata WHERE draw_name = 'default-mined-m1'")).all()
        draw = connection.execute(text("SELECT * FROM results.draws WHERE draw_name = 'default-mined-m1'")).one()
    near = np.min([separations(pool, lens.ra, lens.dec) for lens in lenses], axis=0) <= 11

    def stratum_of(i: int) -> tuple[str, str] | None:
        bin_, type_ = nobs_bin(pool.columns["nobs_z"][i]), str(pool.columns["type"][i])
        if bin_ is None or type_ != "EXP":
            return (bin_, type_) if bin_ else None
        types = sorted(t for t in ("SER", "DEV", "REX") if positives[bin_ + t])
        total, below = sum(positives[bin_ + t] for t in types), 0
        for t in types:
            below += positives[bin_ + t]
            if galaxy_key(ids[i], "EXP") / 2**64 + 0.5 < below / total:
                return bin_, t
        return None

    allowed = [
        i
        for i in range(len(ids))
        if ids[i] not in before and not near[i] and is_train(pool.ra[i], pool.dec[i]) and stratum_of(i)
    ]
    wanted = sorted(allowed, key=lambda i: (-scores[ids[i]], ids[i]))[:N_MINED]
    mined = {row.ls_id: row for row in rows if row.category == "mined"}
    assert set(mined) == {ids[i] for i in wanted}
    assert {k: (row.nobs_z_bin, row.type) for k, row in mined.items()} == {ids[i]: stratum_of(i) for i in wanted}
    assert {(row.pool, row.label, row.inclusion_probability, row.weight) for row in mined.values()} == {
        ("N2", 0, None, 1.0)
    }
    near_ids = {ids[i] for i in np.flatnonzero(near)}
    taken_over = {
        row.ls_id: (row.pool, row.nobs_z_bin, row.type, row.category, row.inclusion_probability)
        for row in rows
        if row.label == 0 and row.ls_id not in mined
    }
    assert taken_over == {k: v for k, v in before.items() if k not in near_ids}
    assert ids[victim] not in taken_over
    assert done.n_near_lens == draw.n_near_lens == len(before) - len(taken_over) == 1
    assert sum(row.label for row in rows) == 12
    assert (done.n_mined, draw.n_mined, draw.base_draw_name, draw.mined_with_model) == (40, 40, "default", "m1")
    assert not draw.is_frozen
    for row in strata:
        here = [r for r in rows if r.label == 0 and (r.nobs_z_bin, r.type) == (row.nobs_z_bin, row.type)]
        assert row.n_drawn_mined == sum(r.category == "mined" for r in here)
        assert row.n_drawn_n1 == sum(r.pool == "N1" for r in here)
        assert row.n_drawn_n2 == sum(r.pool == "N2" and r.category != "mined" for r in here)


def test_a_mined_draw_goes_the_way_of_any_other(engine: Engine) -> None:
    scored_world(engine)
    config = MineConfig(model="m1", per_positive=2, name="harder")
    first = mine_negatives(engine, config)
    assert (first.n_wanted, first.n_mined) == (24, 24)
    again = mine_negatives(engine, config)
    assert (again.is_new, again.n_members) == (False, first.n_members)
    assert assign_splits(engine, SplitConfig()).n_leaks == 0
    with engine.connect() as connection:
        targets = load_targets(connection, find_draw(connection, "harder"), "v1")
        assert len(targets) == first.n_members
        assert targets.loc[targets["label"] == 0, "cutout_id"].notna().all()  # made for the galaxy, used by both draws
        split = connection.scalars(
            text("SELECT DISTINCT split FROM results.manifest WHERE draw_name = 'harder' AND category = 'mined'")
        ).all()
    assert split == ["train"]
    with pytest.raises(SamplingError, match="other rules"):
        mine_negatives(engine, config.model_copy(update={"per_positive": 3}))
    delete_draw(engine, "harder")
    assert mine_negatives(engine, config).is_new


def test_a_mined_draw_during_which_something_is_loaded_is_not_kept(engine: Engine) -> None:
    pool, scores = scored_world(engine)
    ids = pool.columns["ls_id"].tolist()
    best = max((i for i in range(N) if is_train(pool.ra[i], pool.dec[i])), key=lambda i: scores[ids[i]])

    def load_a_lens() -> None:
        with engine.begin() as connection:
            insert_lenses(connection, [pool.ra[best]], [pool.dec[best]], [None])

    before_statement(engine, "WITH\n    scored AS", load_a_lens)
    config = MineConfig(model="m1", n=N_MINED)
    with pytest.raises(BusyError, match=r"were loaded while the draw was made \(1 lenses to look for\)"):
        mine_negatives(engine, config)
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT name FROM sampling.draw")).all() == ["default"]
    assert mine_negatives(engine, config).is_new  # it matches by itself
    assert ids[best] not in members_of(engine, "default-mined-m1")


def members_of(engine: Engine, draw: str) -> set[int]:
    query = text("SELECT ls_id FROM sampling.draw_member JOIN sampling.draw USING (draw_id) WHERE name = :draw")
    with engine.connect() as connection:
        return set(connection.scalars(query, {"draw": draw}))


def test_mining_without_scores_beside_the_draw_says_how_to_get_them(engine: Engine) -> None:
    drawn_pool(engine)
    assign_splits(engine, SplitConfig())
    with engine.begin() as connection:
        model = insert_model(connection)
        insert_scored_cutouts(connection, model)
        connection.execute(
            text(
                "DELETE FROM training.score s USING imaging.cutout c WHERE c.cutout_id = s.cutout_id "
                "AND c.ls_id NOT IN (SELECT ls_id FROM sampling.draw_member WHERE ls_id IS NOT NULL)"
            )
        )
    with pytest.raises(MissingInputError, match="has scored no galaxy beside the members of draw default") as caught:
        mine_negatives(engine, MineConfig(model="m1", n=3))
    assert "stronglens score" in str(caught.value)
    with pytest.raises(MissingInputError, match="there is no model 'm9' \\(there are: m1\\)"):
        mine_negatives(engine, MineConfig(model="m9", n=3))


@pytest.mark.parametrize("numbers", [{}, {"n": 1, "per_positive": 1}, {"n": 0}])
def test_how_many_is_said_once(numbers: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        load_config(MineConfig, None, model="m1", **numbers)


def test_the_command_line_mines(engine: Engine, run_cli: RunCli) -> None:
    scored_world(engine)
    done = run_cli("draw", "mine", "--model", "m1", "--n", "5", "--name", "five")
    assert done.returncode == 0, done.stderr
    assert "5 of them mined with model m1 (5 wanted)" in done.stdout
    with engine.connect() as connection:
        run = connection.execute(text("SELECT * FROM provenance.run WHERE command = 'draw mine'")).one()
        body = connection.scalar(
            text("SELECT body FROM provenance.config WHERE config_sha256 = :sha"), {"sha": run.config_sha256}
        )
    assert (run.status, body["draw"], body["model"], body["n"]) == ("succeeded", "default", "m1", 5)
