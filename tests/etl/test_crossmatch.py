"""`stronglens crossmatch` against brute force, through every format, and what it refuses."""

from __future__ import annotations

import csv
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table
from sqlalchemy import Connection, Engine, event, insert, text

from db.bulk import begin_bulk
from db.errors import MissingInputError
from db.models.imaging import Cutout
from db.models.sampling import Draw, DrawMember, SplitCell, SplitScheme, Stratum
from db.models.training import Model, Score
from db.provenance import canonical_config
from etl.crossmatch.errors import CrossmatchError
from etl.crossmatch.positions import Positions, read_positions
from etl.crossmatch.search import CrossmatchRequest, crossmatch
from etl.crossmatch.write import check_output, write_answers
from tests.builders import ARCSEC, cells, insert_galaxies, insert_lenses, insert_run
from tests.conftest import RunCli

SEVEN = ["row", "input_ra", "input_dec", "ls_id", "ra", "dec", "separation_arcsec"]
OTHERS = ["survey", "type", "mag_g_ab", "mag_r_ab", "mag_z_ab", "nobs_z"]
LENS = ["lens_name", "lens_tier", "is_lens_claim", "lens_separation_arcsec"]


def separation(ra1: np.ndarray, dec1: np.ndarray, ra2: np.ndarray, dec2: np.ndarray) -> np.ndarray:
    """Great-circle distance, arcsec (haversine)."""
    a, b, c, d = (np.radians(np.asarray(part)) for part in (ra1, dec1, ra2, dec2))
    h = np.sin((d - b) / 2) ** 2 + np.cos(b) * np.cos(d) * np.sin((c - a) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(h))) * 3600


@dataclass(frozen=True)
class Pool:
    engine: Engine
    ra: np.ndarray
    dec: np.ndarray
    keys: np.ndarray
    lens_ra: np.ndarray
    lens_dec: np.ndarray


@pytest.fixture
def pool(engine: Engine) -> Pool:
    """Galaxies with keys of 54 bits around the wrap, both poles and the equator, and six lenses among them."""
    rng = np.random.default_rng(31)
    centres = np.repeat([[0.0, 0.0], [359.999, 40.0], [10.0, 90.0], [200.0, -90.0], [120.0, 5.0]], 120, axis=0)
    ra0, dec0 = centres.T
    at_pole = np.abs(dec0) == 90
    shift = rng.uniform(-40, 40, (2, 600)) * ARCSEC
    ra = np.where(at_pole, rng.uniform(0, 360, 600), ra0 + shift[0]) % 360
    dec = np.where(at_pole, np.sign(dec0) * (90 - np.abs(shift[1])), dec0 + shift[1])
    keys = (np.int64(10_001) << 40) + (np.int64(123_457) << 16) + 2 * np.arange(600) + 1
    flux = np.where(np.arange(600) % 7, 10 ** rng.uniform(0, 2, 600), -0.5).astype(np.float32)
    chosen = np.arange(0, 600, 100)
    with engine.begin() as connection:
        insert_galaxies(connection, ra, dec, ls_id=keys, flux_g=flux)
        insert_lenses(connection, ra[chosen], dec[chosen], ["A", "B", None, "A", "B", None])
        connection.execute(text("UPDATE catalog.lens SET is_lens_claim = false WHERE name = 'L2'"))
    return Pool(engine, ra, dec, keys, ra[chosen], dec[chosen])


def positions_near(pool: Pool, n: int = 300) -> Positions:
    rng = np.random.default_rng(5)
    pick = rng.integers(0, 600, n)
    dec = np.clip(pool.dec[pick] + rng.normal(0, 5, n) * ARCSEC, -90, 90)
    ra = np.where(np.arange(n) % 10, (pool.ra[pick] + rng.normal(0, 3, n) * ARCSEC) % 360, 250.0)
    return Positions(ra, dec)


def test_each_row_has_the_galaxy_and_the_lens_of_brute_force(pool: Pool) -> None:
    positions = positions_near(pool)
    progress: list[tuple[int, int]] = []
    answers = crossmatch(pool.engine, positions, CrossmatchRequest(), lambda *done: progress.append(done))
    rows = answers.to_pylist()
    distance = separation(positions.ra[:, None], positions.dec[:, None], pool.ra[None], pool.dec[None])
    to_lens = separation(positions.ra[:, None], positions.dec[:, None], pool.lens_ra[None], pool.lens_dec[None])
    with pool.engine.connect() as connection:
        flux_g = dict(connection.execute(text("SELECT ls_id, flux_g FROM catalog.galaxy")).all())
    assert answers.column_names == SEVEN + OTHERS + LENS
    assert [row["row"] for row in rows] == list(range(1, 301))
    for i, row in enumerate(rows):
        assert (row["input_ra"], row["input_dec"], row["survey"]) == (positions.ra[i], positions.dec[i], "dr10")
        if distance[i].min() <= 5:
            best = int(distance[i].argmin())
            assert row["ls_id"] == pool.keys[best]
            assert (row["ra"], row["dec"]) == (pool.ra[best], pool.dec[best])
            assert row["separation_arcsec"] == pytest.approx(distance[i, best], abs=2e-6)
            flux = flux_g[row["ls_id"]]
            wanted = pytest.approx(22.5 - 2.5 * np.log10(flux), abs=1e-5) if flux > 0 else None
            assert row["mag_g_ab"] == wanted
        else:
            assert all(row[name] is None for name in SEVEN[3:] + OTHERS[1:])
        if to_lens[i].min() <= 11:
            lens = int(to_lens[i].argmin())
            claim = 0 if lens == 2 else 1
            assert (row["lens_name"], row["is_lens_claim"]) == (f"L{lens}", claim)
            assert row["lens_separation_arcsec"] == pytest.approx(to_lens[i, lens], abs=2e-6)
        else:
            assert all(row[name] is None for name in LENS)
    assert 30 < answers["ls_id"].null_count < 250
    assert answers["lens_name"].null_count < 290
    assert progress[-1] == (300, 300)


def test_the_radius_is_inclusive_and_the_users_own(pool: Pool) -> None:
    with pool.engine.begin() as connection:
        (key,) = insert_galaxies(connection, [50.0], [10.0 + 30 * ARCSEC])
    here = Positions(np.array([50.0]), np.array([10.0]))
    for radius, wanted in ((30.0, int(key)), (29.999, None), (3600.0, int(key))):
        (row,) = crossmatch(pool.engine, here, CrossmatchRequest(radius)).to_pylist()
        assert row["ls_id"] == wanted


def test_no_positions_give_no_rows_but_the_columns(pool: Pool, tmp_path: Path) -> None:
    nothing = Positions(np.empty(0), np.empty(0))
    answers = crossmatch(pool.engine, nothing, CrossmatchRequest())
    assert (len(answers), answers.column_names) == (0, SEVEN + OTHERS + LENS)
    for name in ("a.csv", "a.fits", "a.vot"):
        write_answers(answers, tmp_path / name)
        formats = {"a.csv": "ascii.csv", "a.fits": "fits", "a.vot": "votable"}
        assert Table.read(tmp_path / name, format=formats[name]).colnames == SEVEN + OTHERS + LENS


@pytest.mark.parametrize("name", ["out.csv", "out.fits", "out.vot", "out.xml"])
def test_every_format_comes_back_as_it_went(pool: Pool, tmp_path: Path, name: str) -> None:
    answers = crossmatch(pool.engine, positions_near(pool), CrossmatchRequest())
    (tmp_path / name).write_text("an older file")
    write_answers(answers, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith("csv"):
        with (tmp_path / name).open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row, wanted in zip(rows, answers.to_pylist(), strict=True):
            for column, value in wanted.items():
                assert row[column] == ("" if value is None else str(value))
        return
    table = Table.read(tmp_path / name, format="fits" if name.endswith("fits") else "votable")
    table.convert_bytestring_to_unicode()
    assert table.colnames == answers.column_names
    assert table["ls_id"].dtype.kind == "i"
    assert table["ra"].unit == units.deg
    for column in answers.column_names:
        wanted = answers[column].to_pylist()
        found = np.ma.asarray(table[column])
        is_missing = np.array([value is None for value in wanted])
        blank = np.ma.getmaskarray(found) | (found.astype(str) == "")
        assert (np.asarray(blank) == is_missing).all(), column
        assert found[~is_missing].tolist() == [value for value in wanted if value is not None], column
    assert max(table["ls_id"].compressed()) > 2**53


@pytest.mark.parametrize(
    ("name", "format_"), [("in.csv", "ascii.csv"), ("in.fits", "fits"), ("in.fits.gz", "fits"), ("in.vot", "votable")]
)
@pytest.mark.parametrize("columns", [("ra", "dec"), ("RAJ2000", "DEJ2000"), ("Target_RA", "TARGET_DEC")])
def test_positions_come_out_of_every_format_and_usual_name(
    tmp_path: Path, name: str, format_: str, columns: tuple[str, str]
) -> None:
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 50), rng.uniform(-90, 90, 50)
    table = Table({"id": np.arange(50), columns[0]: ra, columns[1]: dec, "note": ["x"] * 50})
    table.write(tmp_path / name, format=format_)
    found = read_positions(tmp_path / name)
    np.testing.assert_array_equal(found.ra, ra)
    np.testing.assert_array_equal(found.dec, dec)


def test_named_columns_win_and_whole_degrees_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("ra,dec,x,y\n1,2,3,4\n5,6,7,8\n")
    found = read_positions(tmp_path / "in.csv", "x", "y")
    assert (found.ra.tolist(), found.dec.tolist()) == ([3.0, 7.0], [4.0, 8.0])
    assert read_positions(tmp_path / "in.csv").ra.tolist() == [1.0, 5.0]


def table_of(values: list[Any]) -> Table:
    return Table({"ra": values, "dec": [0.0] * len(values)})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_of([1.0, np.nan, np.nan]), "row 2: ra is nan, expected degrees in [0, 360) (2 such rows)"),
        (table_of([1.0, 360.0]), "row 2: ra is 360.0, expected degrees in [0, 360)"),
        (table_of([-0.1]), "row 1: ra is -0.1, expected degrees in [0, 360)"),
        (table_of([np.inf]), "row 1: ra is inf, expected degrees in [0, 360)"),
        (Table({"ra": [1.0], "dec": [90.5]}), "row 1: dec is 90.5, expected degrees in [-90, 90]"),
        (table_of(MaskedColumn([1.0, 2.0], mask=[False, True])), "row 2: ra is nan, expected degrees in [0, 360)"),
        (table_of(["12:30:00"]), "column ra does not hold numbers (first 12:30:00), expected degrees"),
        (Table({"ra": [1.0] * units.rad, "dec": [1.0] * units.rad}), "column ra is in rad, expected degrees"),
        (Table({"ra": [[1.0, 2.0]], "dec": [1.0]}), "column ra holds (2,) values a row, expected one"),
        (Table({"x": [1.0], "y": [2.0]}), "no columns look like ra and dec, name them with --ra and --dec; its columns are x, y"),  # noqa: E501
    ],
)  # fmt: skip
@pytest.mark.parametrize("format_", ["fits", "votable"])
def test_a_position_that_is_none_is_refused_by_its_row(
    tmp_path: Path, table: Table, message: str, format_: str
) -> None:
    path = tmp_path / f"in.{'fits' if format_ == 'fits' else 'vot'}"
    table.write(path, format=format_)
    with pytest.raises(CrossmatchError) as caught:
        read_positions(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "ra,dec\n1,\n", "row 1: dec is nan"),
        ("a.csv", "ra,dec\n10h,1\n", "column ra does not hold numbers (first 10h)"),
        ("a.csv", "ra,dec\n1,2,3,4\n", "cannot be read as ascii.csv"),
        ("a.csv", "", "it has no columns"),
        ("a.fits", "SIMPLE", "cannot be read as fits"),
        ("a.vot", "<VOTABLE><oops", "cannot be read as votable"),
        ("a.txt", "ra dec\n1 2\n", "its name tells no format, expected one of .csv, .fits"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CrossmatchError) as caught:
        read_positions(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {message}")
    assert "\n" not in str(caught.value)


def test_columns_and_outputs_that_are_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("ra,dec\n1,2\n")
    for options, message in ((("x", "dec"), "has no column x"), (("ra", None), "--ra and --dec belong together")):
        with pytest.raises(CrossmatchError, match=message):
            read_positions(tmp_path / "in.csv", *options)
    for out, message in ((tmp_path / "no" / "out.csv", "there is no folder"), (tmp_path / "out.h5", "no format")):
        with pytest.raises(CrossmatchError, match=message):
            check_output(out)
    with pytest.raises(CrossmatchError, match="there is no such file"):
        read_positions(tmp_path / "absent.csv")


def test_an_answer_that_cannot_be_written_leaves_nothing(pool: Pool, tmp_path: Path) -> None:
    answers = crossmatch(pool.engine, positions_near(pool, 5), CrossmatchRequest())
    (tmp_path / "out.fits").mkdir()
    with pytest.raises(CrossmatchError, match=r"out\.fits: cannot be written"):
        write_answers(answers, tmp_path / "out.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["out.fits"]


def insert_scores(connection: Connection, pool: Pool) -> None:
    """Models `one`, `two` and a shuffled control; scores of lens L0, of a galaxy, and of two cutouts of another."""
    run_id = insert_run(connection)
    digest, _ = canonical_config({})
    lens_id = int(connection.scalar(text("SELECT lens_id FROM catalog.lens WHERE name = 'L0'")) or 0)

    def add(table: Any, key: Any, rows: list[dict[str, Any]]) -> list[Any]:
        statement = insert(table).returning(key, sort_by_parameter_order=True)
        return list(connection.execute(statement, rows).scalars())

    run = {"run_id": run_id}
    ours = {"survey": "dr10", "data_release": 10}
    rules = {"seed": 1, "config_sha256": digest, "n_lenses_known": 6, "n_galaxies": 600}
    (draw,) = add(Draw, Draw.draw_id, [{"name": "d", **ours, **rules, **run}])
    bounds = {"nside": 128, "seed": 1, "train_below": 0.7, "val_below": 0.85, "guard_arcsec": 30.0}
    (scheme,) = add(SplitScheme, SplitScheme.scheme_id, [{"name": "s", **bounds, **run}])
    counts = [column.name for column in Stratum.__table__.columns if column.name.startswith("n_")]
    bins = {"nobs_z_bin": "3-5", "type": "SER", **dict.fromkeys(counts, 0)}
    (stratum,) = add(Stratum, Stratum.stratum_id, [{"draw_id": draw, **bins}])
    objects = [{"lens_id": lens_id, "ls_id": None}] + [{"lens_id": None, "ls_id": int(pool.keys[i])} for i in (1, 2)]
    places = [{"ra": pool.ra[i], "dec": pool.dec[i]} for i in range(3)]
    pixels = cells(pool.ra[:3], pool.dec[:3]).tolist()
    add(SplitCell, SplitCell.healpix_128,
        [{"scheme_id": scheme, "healpix_128": pixel, "split": "val"} for pixel in set(pixels)])  # fmt: skip
    kinds = [{"label": 1, "pool": "positive", "tier": "A", "inclusion_probability": None}]
    kinds += [{"label": 0, "pool": "N1", "tier": None, "inclusion_probability": 0.5}] * 2
    members = [
        {
            "draw_id": draw,
            "stratum_id": stratum,
            "weight": 1.0,
            "healpix_128": pixels[i],
            **kinds[i],
            **objects[i],
            **places[i],
        }
        for i in range(3)
    ]
    add(DrawMember, DrawMember.member_id, members)
    image = {"layer": "ls-dr10-south", "source": "coadd", "brickname": "0001p000", "sha256": "0" * 64, "n_bytes": 1}
    image |= {"bands": "grz", "n_pixels": 101, "pixel_scale_arcsec": 0.262, "nan_fraction": 0.0, "status": "ok"}
    cutouts = [
        {"uri": f"{i}{version}", "version": version, **objects[i], **places[i], **image, **ours, **run}
        for i, version in ((0, "v1"), (1, "v1"), (2, "v1"), (2, "v2"))
    ]
    ids = add(Cutout, Cutout.cutout_id, cutouts)
    recipe = {"draw_id": draw, "scheme_id": scheme, "cutout_version": "v1", "architecture": "a", "n_parameters": 1}
    recipe |= {"config_sha256": digest, "preprocessing": {}, "manifest_sha256": "0", "n_train": 1, "n_val": 1}
    models = [
        {"name": name, "is_label_shuffled": name == "control", "status": status, "survey": "dr10", **recipe, **run}
        | {"checkpoint_uri": "x" if status == "succeeded" else None}
        for name, status in (("one", "succeeded"), ("two", "succeeded"), ("control", "succeeded"), ("new", "training"))
    ]
    one, two, control, _ = add(Model, Model.model_id, models)
    values = [(one, 0, 0.9), (one, 1, 0.1), (one, 2, 0.3), (one, 3, 0.4), (two, 1, 0.2), (control, 0, 0.5)]
    scores = [{"model_id": model, "cutout_id": ids[i], "score": score, **run} for model, i, score in values]
    connection.execute(insert(Score), scores)


def test_scores_are_those_of_the_galaxy_or_of_the_lens_for_every_finished_model(pool: Pool) -> None:
    with pool.engine.begin() as connection:
        insert_scores(connection, pool)
    # On lens L0, 8 arcsec beside it, on both scored galaxies, and on one without a score.
    beside = int(np.argmin(np.abs(separation(pool.ra, pool.dec, pool.ra[0], pool.dec[0]) - 8)))
    chosen = [0, beside, 1, 2, 300]
    here = Positions(pool.ra[chosen], pool.dec[chosen])
    answers = crossmatch(pool.engine, here, CrossmatchRequest(0.5))
    assert answers.column_names[-2:] == ["score_one", "score_two"]
    assert answers["score_one"].to_pylist() == [0.9, None, 0.1, 0.4, None]
    assert answers["score_two"].to_pylist() == [None, None, 0.2, None, None]
    assert answers["lens_name"].to_pylist()[:2] == ["L0", "L0"]
    chosen_model = crossmatch(pool.engine, here, CrossmatchRequest(0.5, models=("control",)))
    assert chosen_model.column_names[-1] == "score_control"
    assert "score_one" not in chosen_model.column_names
    assert chosen_model["score_control"].to_pylist() == [0.5, None, None, None, None]
    for name in ("new", "absent"):
        with pytest.raises(CrossmatchError, match=f"no finished model {name} .*one, two, control"):
            crossmatch(pool.engine, here, CrossmatchRequest(models=(name,)))


def test_surveys_are_never_mixed(pool: Pool) -> None:
    with pool.engine.begin() as connection:
        (mock,) = insert_galaxies(connection, pool.ra[:1], pool.dec[:1], survey="mock")
    here = Positions(pool.ra[:1], pool.dec[:1])
    with pytest.raises(CrossmatchError, match=r"several surveys are loaded .*--survey"):
        crossmatch(pool.engine, here, CrossmatchRequest())
    for survey, key in (("dr10", pool.keys[0]), ("mock", mock)):
        (row,) = crossmatch(pool.engine, here, CrossmatchRequest(survey=survey)).to_pylist()
        assert (row["survey"], row["ls_id"]) == (survey, key)
    with pytest.raises(CrossmatchError, match="survey dr9 has no galaxies"):
        crossmatch(pool.engine, here, CrossmatchRequest(survey="dr9"))


@pytest.mark.parametrize("radius", [0.0, -1.0, 3601.0, float("nan")])
def test_a_radius_that_makes_no_sense_is_refused(pool: Pool, radius: float) -> None:
    with pytest.raises(CrossmatchError, match="arcsec, expected more than 0 and at most 3600"):
        crossmatch(pool.engine, positions_near(pool, 1), CrossmatchRequest(radius))


def test_a_pool_that_is_empty_or_being_loaded_is_said(engine: Engine) -> None:
    here = Positions(np.array([1.0]), np.array([1.0]))
    with pytest.raises(MissingInputError, match="sweeps load"):
        crossmatch(engine, here, CrossmatchRequest())
    assert begin_bulk(engine)
    with engine.begin() as connection:
        insert_galaxies(connection, [1.0], [1.0])
    with pytest.raises(MissingInputError, match="no indexes yet"):
        crossmatch(engine, here, CrossmatchRequest())


def test_many_positions_go_through_the_pools_index(pool: Pool) -> None:
    rng = np.random.default_rng(6)
    with pool.engine.begin() as connection:
        insert_galaxies(connection, rng.uniform(0, 30, 60_000), rng.uniform(-10, 10, 60_000))
    with pool.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE catalog.galaxy"))
    plans: list[str] = []

    @event.listens_for(pool.engine, "before_cursor_execute")
    def explain(connection: Connection, _cursor: object, sql: str, parameters: Any, *_: object) -> None:
        if sql.startswith("INSERT INTO pg_temp.pair"):
            with connection.connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + sql, parameters)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))

    many = Positions(rng.uniform(0, 30, 30_000), rng.uniform(-10, 10, 30_000))
    answers = crossmatch(pool.engine, many, CrossmatchRequest())
    assert answers["row"].to_pylist() == list(range(1, 30_001))
    assert len(plans) == 2
    for plan in plans:
        assert "ix_galaxy_q3c" in plan
        assert "Seq Scan on galaxy" not in plan


def test_the_command_prints_csv_and_a_summary_beside_it(pool: Pool, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "in.csv").write_text(f"name,RA,Dec\na,{pool.ra[0]},{pool.dec[0]}\nb,250.0,-20.0\n")
    options = ("--ra", "RA", "--dec", "Dec", "--radius-arcsec", "2", "--survey", "dr10")
    printed = run_cli("crossmatch", str(tmp_path / "in.csv"), *options)
    assert printed.returncode == 0, printed.stderr
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [row["ls_id"] for row in rows] == [str(pool.keys[0]), ""]
    assert [row["lens_name"] for row in rows] == ["L0", ""]
    said = "1 of 2 positions have a galaxy within 2 arcsec, 1 a known lens within 11 arcsec\n"
    assert printed.stderr == said


def test_a_damaged_compressed_file_is_refused_in_one_line_wherever_the_damage_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    table = Table({"ra": rng.uniform(0, 360, 5000), "dec": rng.uniform(-90, 90, 5000)})
    table.write(tmp_path / "whole.fits", format="fits")
    plain = (tmp_path / "whole.fits").read_bytes()
    packer = zlib.compressobj(wbits=31)
    before = packer.compress(plain[:40_000]) + packer.flush(zlib.Z_FULL_FLUSH)  # the next block begins with a byte
    whole = before + packer.compress(plain[40_000:]) + packer.flush()
    path = tmp_path / "a.fits.gz"
    path.write_bytes(whole)
    assert len(read_positions(path).ra) == 5000
    cut = [whole[:n] for n in (0, 5, 500, len(before), len(whole) // 2)]
    no_such_block = [whole[:n] + b"\xff" + whole[n + 1 :] for n in (10, len(before))]
    for content in cut + no_such_block:
        path.write_bytes(content)
        with pytest.raises(CrossmatchError) as caught:
            read_positions(path)
        assert str(caught.value).startswith(f"{path}: cannot be read as fits")
        assert "\n" not in str(caught.value)


def test_the_command_refuses_a_bad_row_before_it_writes(pool: Pool, tmp_path: Path, run_cli: RunCli) -> None:
    (tmp_path / "bad.csv").write_text("ra,dec\n1,2\n400,2\n")
    refused = run_cli("crossmatch", str(tmp_path / "bad.csv"), "-o", str(tmp_path / "bad.vot"))
    assert refused.returncode == 1
    assert "bad.csv: row 2: ra is 400.0, expected degrees in [0, 360)" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["bad.csv"]
