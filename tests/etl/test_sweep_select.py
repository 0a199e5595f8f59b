"""Keys, selection and validation of sweep rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import healpy
import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy.dialects import postgresql

from db.copy import ARROW_TYPES
from db.models.catalog import GALAXY_TYPES, Galaxy
from etl.errors import EtlError, SweepFileError
from etl.survey import MOCK_RELEASE, ls_id, split_ls_id, survey_of_release
from etl.sweeps.box import box_of_name
from etl.sweeps.columns import GALAXY_SCHEMA
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.reader import read_sweep
from etl.sweeps.seen import SeenKeys
from etl.sweeps.select import PoolSelection


def good_sweep(sweep_files: Any, n_rows: int = 40) -> Any:
    sweep = sweep_files.make(n_rows)
    sweep["TYPE"] = b"SER"
    sweep["FLUX_Z"] = 10
    return sweep


@pytest.fixture
def select(tmp_path: Path, sweep_files: Any) -> Any:
    def run(sweep: Any, config: SweepLoadConfig | None = None, **options: object) -> tuple[PoolSelection, pa.Table]:
        name = str(options.pop("name", "sweep.fits"))
        path = sweep_files.write(tmp_path / name, sweep)
        survey = str(options.pop("survey", "dr10"))
        selection = PoolSelection(config or SweepLoadConfig(), survey, 7, box_of_name(name))
        return selection, pa.Table.from_batches([selection.select(rows) for rows in read_sweep(path)])

    return run


def test_ls_id_follows_the_published_arithmetic() -> None:
    assert ls_id(np.int16(10_000), np.int32(330_368), np.int32(1234)).item() == 10_000 * 2**40 + 330_368 * 2**16 + 1234
    keys = ls_id(
        np.array([9990, 10_999], np.int16), np.array([0, 2**24 - 1], np.int32), np.array([2**16 - 1, 0], np.int32)
    )
    assert keys.dtype == np.int64
    assert [part.tolist() for part in split_ls_id(keys)] == [[9990, 10_999], [0, 2**24 - 1], [2**16 - 1, 0]]


@pytest.mark.parametrize(
    ("release", "brickid", "objid"), [(10_000, 2**24, 0), (10_000, 1, 2**16), (10_000, 1, -1), (-1, 1, 1)]
)
def test_a_number_that_does_not_fit_the_key_is_refused(release: int, brickid: int, objid: int) -> None:
    with pytest.raises(EtlError, match="does not fit"):
        ls_id(release, brickid, objid)


def test_survey_follows_from_the_release() -> None:
    assert survey_of_release([10_000, 10_012, MOCK_RELEASE, 10_999]).tolist() == ["dr10", "dr10", "mock", "dr10"]
    for release in (8000, 9012, 9999, 11_000):
        with pytest.raises(EtlError, match=f"release {release} is not DR10"):
            survey_of_release([10_000, release])


def test_galaxy_rows_have_the_columns_of_the_model() -> None:
    model = {column.name: column.type for column in Galaxy.__table__.columns}
    del model["is_imported"]  # its default, false, holds for sweeps
    assert set(GALAXY_SCHEMA.names) == set(model)
    words = {"BIGINT": "int8", "INTEGER": "int4", "SMALLINT": "int2", "REAL": "float4", "DOUBLE PRECISION": "float8"}
    for field in GALAXY_SCHEMA:
        column_type = model[field.name].compile(postgresql.dialect())
        assert field.type == ARROW_TYPES[words.get(column_type, "text")], field.name
    assert SweepLoadConfig().types == GALAXY_TYPES


def test_selection_equals_an_independent_one(sweep_files: Any, select: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(20_000)
    selection, table = select(sweep)
    chosen = sweep[sweep_files.is_pool_galaxy(tmp_path / "sweep.fits")]
    assert 0 < len(chosen) < 20_000
    assert selection.counts.n_kept == len(chosen) == table.num_rows
    assert selection.counts.n_not_selected == 20_000 - len(chosen)
    expected = [(10_000 << 40) + (int(row["BRICKID"]) << 16) + int(row["OBJID"]) for row in chosen]
    assert table["ls_id"].to_pylist() == expected
    assert table["psf_fwhm_z_arcsec"].to_pylist() == chosen["PSFSIZE_Z"].tolist()
    assert table["type"].to_pylist() == chosen["TYPE"].astype(str).tolist()
    assert table["maskbits"].to_pylist() == chosen["MASKBITS"].tolist()
    cells = healpy.ang2pix(128, chosen["RA"], chosen["DEC"], nest=True, lonlat=True)
    assert table["healpix_128"].to_pylist() == cells.tolist()
    bricks = {int(row["BRICKID"]): row["BRICKNAME"].decode() for row in chosen}
    assert selection.bricks == bricks


def test_the_magnitude_limit_is_inclusive_and_not_dereddened(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files, 4)
    sweep["FLUX_Z"] = [100, np.nextafter(np.float32(100), np.float32(0)), 0, -5]
    sweep["MW_TRANSMISSION_Z"] = 0.5
    _, table = select(sweep, SweepLoadConfig(mag_z_max=17.5))
    assert table["flux_z"].to_pylist() == [100.0]


def test_sources_outside_their_own_brick_are_not_selected(sweep_files: Any, tmp_path: Path) -> None:
    from astropy.io import fits

    path = sweep_files.write(tmp_path / "plain.fits", good_sweep(sweep_files, 3))
    columns = fits.getdata(path, 1).columns + fits.ColDefs(
        [fits.Column("BRICK_PRIMARY", "L", array=np.array([True, False, True]))]
    )
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "tractor-0001m040.fits")
    selection = PoolSelection(SweepLoadConfig(), "dr10", 1)
    kept = [selection.select(rows).num_rows for rows in read_sweep(tmp_path / "tractor-0001m040.fits")]
    assert kept == [2]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("RA", 360.0, "RA is not in"),
        ("RA", -1e-9, "RA is not in"),
        ("RA", np.nan, "RA is not in"),
        ("DEC", -90.001, "DEC is not in"),
        ("OBJID", 2**16, "OBJID does not fit"),
        ("OBJID", -1, "OBJID does not fit"),
        ("BRICKID", 2**24, "BRICKID does not fit"),
        ("FLUX_Z", np.nan, "FLUX_Z is not finite"),
        ("FLUX_Z", np.inf, "FLUX_Z is not finite"),
        ("PSFDEPTH_G", np.nan, "PSFDEPTH_G is not finite"),
        ("FLUX_I", np.nan, "FLUX_I is not finite"),
    ],
)
def test_a_bad_value_in_a_selected_row_is_found(
    sweep_files: Any, select: Any, column: str, value: float, reason: str
) -> None:
    sweep = good_sweep(sweep_files)
    sweep["NOBS_I"] = 1
    sweep[column][11] = value
    selection, table = select(sweep)
    assert selection.counts.n_bad == 1
    assert selection.counts.bad[0].startswith("row 11 ")
    assert reason in selection.counts.bad[0]
    assert table.num_rows == 39


def test_a_bad_value_in_a_row_that_is_not_selected_does_not_matter(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["TYPE"][3] = b"PSF"
    sweep["EBV"][3] = np.nan
    selection, _ = select(sweep)
    assert selection.counts.n_bad == 0


def test_flux_i_may_be_missing_where_i_was_not_observed(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["NOBS_I"] = 0
    sweep["FLUX_I"] = np.nan
    selection, table = select(sweep)
    assert selection.counts.n_bad == 0
    assert set(table["flux_i"].to_pylist()) == {0.0}


def test_the_second_row_with_a_key_is_bad_even_in_another_batch(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files, 20_000)
    for name in ("BRICKID", "OBJID", "BRICKNAME"):
        sweep[name][19_999] = sweep[name][5]
        sweep[name][6] = sweep[name][5]
    selection, table = select(sweep)
    assert selection.counts.n_bad == 2
    assert selection.counts.bad[0].startswith("row 6 ")
    assert len(set(table["ls_id"].to_pylist())) == table.num_rows == 19_998


def test_rows_outside_the_box_of_the_file_name_are_bad(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["RA"][0], sweep["DEC"][1] = 5.02, 0.02
    sweep["RA"][2], sweep["DEC"][3] = 5.005, -5.005
    selection, _ = select(sweep, name="sweep-000m005-005p000.fits")
    assert selection.counts.n_bad == 2
    assert "outside the file name's box" in selection.counts.bad[0]


def test_a_box_that_touches_ra_360_takes_both_sides_of_it() -> None:
    box = box_of_name("sweep-355m005-360p000.fits.gz")
    assert box is not None
    ra = np.array([355.0, 359.999999, 0.0, 354.98, 1.0, np.nan])
    assert box.contains(ra, np.full(6, -1.0)).tolist() == [True, True, True, False, False, False]
    assert box_of_name("tractor-0001m040.fits") is None


def test_a_file_of_two_surveys_is_refused(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["RELEASE"][9] = MOCK_RELEASE
    with pytest.raises(SweepFileError, match="mixes surveys: dr10, mock"):
        select(sweep)


def test_a_brick_with_two_names_is_refused(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["BRICKNAME"][9] = b"other"
    with pytest.raises(SweepFileError, match="two names"):
        select(sweep)


def test_bad_rows_tell_the_value_that_is_wrong(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["RA"][3], sweep["DEC"][4], sweep["EBV"][5], sweep["RA"][6] = np.nan, 91, np.inf, 7.5
    sweep["DEC"][6] = -1
    selection, _ = select(sweep, SweepLoadConfig(max_quarantine_rows=9), name="sweep-000m005-005p000.fits")
    assert [row.partition("): ")[2] for row in selection.counts.bad] == [
        "RA is not in [0, 360): nan",
        "DEC is not in [-90, 90]: 91.0",
        "EBV is not finite: inf",
        "its position is outside the file name's box: 7.5, -1.0",
    ]
    assert [row.split()[1] for row in selection.counts.bad] == ["3", "4", "5", "6"]


@pytest.mark.filterwarnings("error")
def test_infinite_positions_are_bad_and_warn_of_nothing(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["RA"][:2], sweep["DEC"][2:4] = [np.inf, -np.inf], [np.inf, -np.inf]
    selection, table = select(sweep, name="sweep-000m005-005p000.fits")
    assert selection.counts.n_bad == 4
    assert table.num_rows == 36


def test_a_flux_that_is_not_a_number_is_bad_where_the_type_is_a_galaxy_and_not_selected_elsewhere(
    sweep_files: Any, select: Any
) -> None:
    sweep = good_sweep(sweep_files)
    sweep["FLUX_Z"][:4] = [np.nan, -np.inf, np.nan, 0.1]
    sweep["TYPE"][2] = b"PSF"
    selection, _ = select(sweep)
    assert (selection.counts.n_bad, selection.counts.n_not_selected, selection.counts.n_kept) == (2, 2, 36)


def test_a_chunk_of_which_nothing_is_kept_gives_an_empty_batch(sweep_files: Any, select: Any) -> None:
    sweep = good_sweep(sweep_files)
    sweep["TYPE"] = b"PSF"
    selection, table = select(sweep)
    assert (table.num_rows, table.schema) == (0, GALAXY_SCHEMA)
    assert selection.counts.n_not_selected == 40


@pytest.mark.parametrize("n_distinct", [3, 700, 100_000])
def test_repeated_keys_are_those_that_a_set_has_seen(n_distinct: int) -> None:
    rng = np.random.default_rng(n_distinct)
    seen, known = SeenKeys(), set[int]()
    for size in rng.integers(0, 900, 60):
        keys = rng.integers(-n_distinct, n_distinct, size)
        expected = []
        for key in keys.tolist():
            expected.append(key in known)
            known.add(key)
        assert seen.add(keys).tolist() == expected
