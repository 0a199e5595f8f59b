"""`cutouts make --held-out`: who is held out, against astropy, and where the cutouts go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from sqlalchemy import Engine, func, insert, select, text

from db.errors import MissingInputError
from db.models.catalog import Lens, LensSource
from db.models.imaging import Cutout
from db.models.sampling import DrawMember
from etl.catalogs.load import load_lenscat, load_table
from etl.cutouts.files import read_cutout
from etl.cutouts.held_out import held_out_lenses
from etl.cutouts.make import make_cutouts
from etl.match import MatchConfig, match_lenses
from tests.conftest import RunCli
from tests.etl.cutout_sky import NEGATIVES, POSITIVE, Sky, brick_name, make_sky, position, write_bricks

PX_ARCSEC = 0.262
GALAXY_3 = NEGATIVES[2]
ALONE = (188.0, 130.0)


@pytest.fixture(scope="module")
def small_bricks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bricks(tmp_path_factory.mktemp("bricks"))


@pytest.fixture
def sky(engine: Engine, small_bricks: Path, tmp_path: Path) -> Sky:
    return make_sky(engine, small_bricks, tmp_path / "store")


def beside(px: float) -> tuple[float, float]:
    return POSITIVE[0], POSITIVE[1] + px


KNOWN = {
    "matched": (0, GALAXY_3, {}),
    "first twin": (4, NEGATIVES[0], {}),
    "second twin": (4, (NEGATIVES[0][0] + 4, NEGATIVES[0][1]), {}),
    "alone": (5, ALONE, {}),
    "beyond the radius": (6, beside(11.3 / PX_ARCSEC), {}),
    "within the radius": (7, beside(10.7 / PX_ARCSEC), {}),
    "cluster": (8, ALONE, {"is_lens_claim": False}),
    "spectroscopic": (9, ALONE, {"discovery": "spectroscopic"}),
    "hst": (10, ALONE, {"discovery": "hst"}),
    "taught": (11, ALONE, {"tier": "B"}),
    "found by a paper": (12, ALONE, {"discovery": "other"}),
    "found by some catalog": (13, ALONE, {"discovery": "other"}),
}
LISTED = {
    "spectroscopic": "arXiv:1",
    "hst": "arXiv:1",
    "found by a paper": "arXiv:1",
    "found by some catalog": "lenscat-1.1.3",
}
HELD_OUT = {"found by a paper", "matched", "first twin", "second twin", "alone", "beyond the radius", "far away"}


def add_lenses(sky: Sky) -> None:
    plain = {"tier": None, "is_lens_claim": True, "lens_type": "galaxy", "discovery": "ground_imaging"}
    rows = [{"name": name, **plain, **position(brick, *xy), **words} for name, (brick, xy, words) in KNOWN.items()]
    rows.append({"name": "far away", **plain, "ra": 200.0, "dec": 30.0, "healpix_128": 1})
    with sky.engine.begin() as connection:
        connection.execute(insert(Lens), rows)
        keys = dict(connection.execute(select(Lens.name, Lens.lens_id)).all())
        connection.execute(
            insert(LensSource),
            [
                {"lens_id": keys[name], "catalog": catalog, "row_sha256": name, "name": name, "ra": 1.0, "dec": 1.0,
                 "body": {}, "match_status": "matched", "separation_arcsec": 0.0}
                for name, catalog in LISTED.items()
            ],
        )  # fmt: skip
    match_lenses(sky.engine, MatchConfig())


def test_held_out_lenses_are_cut_as_positives_under_names_of_their_own(sky: Sky) -> None:
    add_lenses(sky)
    summary = make_cutouts(sky.engine, sky.config(held_out=True), sky.address)
    assert (summary.n_targets, summary.n_present, summary.n_without_brick, summary.failed) == (7, 0, 1, [])
    assert summary.lines()[0].startswith("7 held-out lenses, 0 had their cutout")
    with sky.engine.connect() as connection:
        names = dict(connection.execute(select(Lens.lens_id, Lens.name)).all())
    rows = {names[row["lens_id"]]: row for row in sky.cutouts().values()}
    assert set(rows) == HELD_OUT - {"far away"}
    key = "store:cutouts/positives/v1/"
    assert {name: str(row["uri"]) for name, row in rows.items()} == {
        "matched": f"{key}{brick_name(0)}_3.npz",
        "first twin": f"{key}{brick_name(4)}_first_twin.npz",
        "second twin": f"{key}{brick_name(4)}_second_twin.npz",
        "alone": f"{key}{brick_name(5)}_alone.npz",
        "found by a paper": f"{key}{brick_name(12)}_found_by_a_paper.npz",
        "beyond the radius": f"{key}{brick_name(6)}_beyond_the_radius.npz",
    }
    for row in rows.values():
        assert (row["version"], row["layer"], row["survey"], row["ls_id"]) == ("v1", "mock", "mock", None)
        meta = read_cutout(sky.store.get_bytes(str(row["uri"]))).meta
        assert (meta["meta_cutout_type"], meta["meta_tier"], meta["meta_weight"]) == ("positive", "", 0.0)
    pixels = read_cutout(sky.store.get_bytes(str(rows["matched"]["uri"]))).pixels[..., 1]
    assert np.unravel_index(np.argmax(pixels[40:61, 40:61]), (21, 21)) == (10, 10)
    with sky.engine.connect() as connection:
        assert rows["matched"]["conditions_source"] == "sweep"
        bricks = connection.scalar(text("SELECT count(*) FROM imaging.cutout_source"))
    assert bricks == len(rows)

    again = make_cutouts(sky.engine, sky.config(held_out=True), sky.address)
    assert (again.n_present, sum(again.n_by_status.values())) == (6, 0)
    members = make_cutouts(sky.engine, sky.config(), sky.address)
    assert members.n_present == 0
    assert make_cutouts(sky.engine, sky.config(held_out=True), sky.address).n_present == 6


def test_who_is_held_out_agrees_with_astropy(sky: Sky) -> None:
    add_lenses(sky)
    rng = np.random.default_rng(3)
    with sky.engine.begin() as connection:
        taught = connection.execute(select(Lens.ra, Lens.dec).where(Lens.tier.is_not(None))).all()
        some = rng.integers(0, len(taught), 200)
        reach = rng.uniform(0, 22, 200) / 3600
        angle = rng.uniform(0, 2 * np.pi, 200)
        rows = [
            {
                "name": f"R{i}", "tier": None, "is_lens_claim": bool(i % 5), "lens_type": "galaxy",
                "discovery": ("ground_imaging", "other")[i % 7 == 0], "healpix_128": 0,
                "ra": float(taught[some[i]].ra + reach[i] * np.cos(angle[i])),
                "dec": float(taught[some[i]].dec + reach[i] * np.sin(angle[i])),
            }
            for i in range(200)
        ]  # fmt: skip
        connection.execute(insert(Lens), rows)
        lenses = connection.execute(select(Lens.__table__)).all()
        draw = connection.scalar(select(func.min(DrawMember.draw_id)))
        assert draw is not None
        found = set(connection.scalars(held_out_lenses(draw)))
    there = SkyCoord([row.ra for row in taught] * u.deg, [row.dec for row in taught] * u.deg)
    here = SkyCoord([row.ra for row in lenses] * u.deg, [row.dec for row in lenses] * u.deg)
    is_far = here.match_to_catalog_sky(there)[1].arcsec > 11
    wanted = {
        row.lens_id
        for row, far in zip(lenses, is_far, strict=True)
        if far
        and row.tier is None
        and row.is_lens_claim
        and (row.discovery == "ground_imaging" or row.name == "found by a paper")
    }
    assert found == wanted
    assert 20 < len(found) < 120


def test_lenses_that_no_match_has_seen_are_refused(sky: Sky) -> None:
    add_lenses(sky)
    with sky.engine.begin() as connection:
        connection.execute(
            insert(Lens).values(
                name="new", tier=None, is_lens_claim=True, lens_type="galaxy", discovery="ground_imaging",
                **position(2, *ALONE),
            )
        )  # fmt: skip
    with pytest.raises(MissingInputError, match=r"1 lenses to look for.*stronglens match"):
        make_cutouts(sky.engine, sky.config(held_out=True), sky.address)
    match_lenses(sky.engine, MatchConfig())
    assert make_cutouts(sky.engine, sky.config(held_out=True), sky.address).n_targets == 8


def test_a_draw_that_holds_nothing_out_says_what_to_load(sky: Sky) -> None:
    match_lenses(sky.engine, MatchConfig())
    with pytest.raises(MissingInputError, match="draw 'small' holds no lens out: load a later search"):
        make_cutouts(sky.engine, sky.config(held_out=True), sky.address)


def test_the_command_cuts_held_out_lenses(sky: Sky, run_cli: RunCli) -> None:
    add_lenses(sky)
    options = ("--coadds", str(sky.coadds), "--draw", "small", "--workers", "1", "--held-out")
    done = run_cli("cutouts", "make", *options, STRONGLENS_STORE=str(sky.store.root))
    assert done.returncode == 0, done.stderr
    assert "7 held-out lenses, 0 had their cutout; made now: 6 ok" in done.stdout
    assert "1 held-out lenses lie in no brick" in done.stdout
    assert sky.count(Cutout) == 6


def test_the_published_later_search_is_held_out_but_for_what_the_training_list_knows(
    engine: Engine, shared_data: Path
) -> None:
    load_lenscat(engine)
    table = "inchausti2025_published_catalog.csv"
    summary = load_table(engine, shared_data / "candidates" / table, "arXiv:2508.20087")
    with engine.connect() as connection:
        lenses = connection.execute(select(Lens.__table__)).all()
        of_paper = set(
            connection.scalars(text("SELECT lens_id FROM catalog.lens_source WHERE catalog = 'arXiv:2508.20087'"))
        )
        found = set(connection.scalars(held_out_lenses(-1)))
    taught = [row for row in lenses if row.tier is not None]
    there = SkyCoord([row.ra for row in taught] * u.deg, [row.dec for row in taught] * u.deg)
    here = SkyCoord([row.ra for row in lenses] * u.deg, [row.dec for row in lenses] * u.deg)
    is_far = here.match_to_catalog_sky(there)[1].arcsec > 11
    is_open = {
        row.lens_id: row.tier is None and row.is_lens_claim and far for row, far in zip(lenses, is_far, strict=True)
    }
    how = {row.lens_id: row.discovery for row in lenses}
    assert found == {
        key
        for key, is_it in is_open.items()
        if is_it and (how[key] == "ground_imaging" or (how[key] == "other" and key in of_paper))
    }
    assert (len(taught), summary.n_rows, len(of_paper)) == (5104, 811, 811)
    assert len(of_paper & found) == 758  # as published: 811 less 53 of the training list
    assert sum(how[key] == "other" for key in of_paper & found) == 50  # other catalogs had them, and do not say whence
