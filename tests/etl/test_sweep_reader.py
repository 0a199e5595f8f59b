"""The FITS reader against astropy, and its refusals."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from etl.errors import SweepFileError
from etl.sweeps.columns import SWEEP_COLUMNS
from etl.sweeps.reader import CHUNK_ROWS, read_sweep, text_values

REQUIRED = [column.name for column in SWEEP_COLUMNS if column.is_required]


def refusal(path: Path) -> str:
    with pytest.raises(SweepFileError) as refused:
        list(read_sweep(path))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_our_test_files_have_the_130_columns_and_505_bytes_of_dr10(sweep_files: Any, shared_data: Path) -> None:
    with (shared_data / "sweeps" / "dr10_sweep_columns.csv").open() as listed:
        published = [(row["name"], row["tform"].removeprefix("1")) for row in csv.DictReader(listed)]
    assert sweep_files.columns() == published
    assert sweep_files.make(1).dtype.itemsize == 505


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_every_kept_column_equals_what_astropy_reads(sweep_files: Any, tmp_path: Path, suffix: str) -> None:
    path = sweep_files.write(tmp_path / f"sweep-000m005-005p000{suffix}", sweep_files.make(2 * CHUNK_ROWS + 7))
    batches = list(read_sweep(path))
    assert [batch.num_rows for batch in batches] == [CHUNK_ROWS, CHUNK_ROWS, 7]
    assert batches[0].schema.names == REQUIRED
    table = fits.getdata(path, 1)
    for column in SWEEP_COLUMNS:
        if not column.is_required:
            continue
        expected = np.asarray(table[column.name])
        if column.numpy_type is None:
            found = np.concatenate([text_values(batch.column(column.name)) for batch in batches]).astype(str)
        else:
            found = np.concatenate([batch.column(column.name).to_numpy() for batch in batches])
            assert found.dtype == column.numpy_type
            assert found.dtype.isnative
        np.testing.assert_array_equal(found, expected, err_msg=column.name)


def test_padded_types_lose_their_blanks(sweep_files: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(3)
    sweep["BRICKNAME"] = [b"0001m040", b"0001m4  ", b""]
    path = sweep_files.write(tmp_path / "sweep.fits", sweep)
    (batch,) = read_sweep(path)
    assert text_values(batch.column("BRICKNAME")).tolist() == [b"0001m040", b"0001m4", b""]


def test_column_names_match_in_lower_case_and_any_order(sweep_files: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(5)
    columns = [fits.Column(name.lower(), tform, array=sweep[name]) for name, tform in reversed(sweep_files.columns())]
    path = tmp_path / "tractor-0001m040.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    (batch,) = read_sweep(path)
    np.testing.assert_array_equal(batch.column("FLUX_Z").to_numpy(), sweep["FLUX_Z"])


def test_a_table_behind_an_image_is_found(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(4))
    image = fits.ImageHDU(np.ones((30, 50), np.float32))
    with fits.open(path) as hdus:
        fits.HDUList([fits.PrimaryHDU(np.ones(7, np.int16)), image, hdus[1].copy()]).writeto(tmp_path / "deep.fits")
    assert [batch.num_rows for batch in read_sweep(tmp_path / "deep.fits")] == [4]


def test_a_table_without_rows_gives_no_batch(sweep_files: Any, tmp_path: Path) -> None:
    assert list(read_sweep(sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(0)))) == []


def test_a_truncated_file_names_rows_expected_and_found(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(1000))
    with fits.open(path) as hdus:
        start = hdus[1].fileinfo()["datLoc"]
    whole = path.read_bytes()
    path.write_bytes(whole[: start + 505 * 700 + 100])
    assert refusal(path) == "is truncated: its header says 1000 rows, it holds 700"
    path.write_bytes(gzip.compress(whole[: start + 505 * 700 + 100]))
    assert refusal(path) == "is truncated: its header says 1000 rows, it holds 700"


def test_a_cut_or_damaged_gzip_stream_is_refused(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits.gz", sweep_files.make(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(path)
    path.write_bytes(whole[:-4])
    assert "truncated" in refusal(path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    assert "damaged gzip" in refusal(path) or "truncated" in refusal(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a FITS file"),
        (b"RELEASE,BRICKID\n10000,1\n" * 400, "is not a FITS file"),
        (b"SIMPLE  =                    T", "is truncated within a header"),
    ],
)
def test_a_file_that_is_not_fits_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "sweep.fits"
    path.write_bytes(content)
    assert refusal(path) == reason


def test_a_fits_file_without_a_table_is_refused(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones((5, 5))).writeto(tmp_path / "sweep.fits")
    assert "no binary table" in refusal(tmp_path / "sweep.fits")


def test_all_missing_columns_are_named(sweep_files: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(3)
    left = [name for name in sweep.dtype.names if name not in {"FLUX_I", "MASKBITS", "SERSIC"}]
    reason = refusal(sweep_files.write(tmp_path / "sweep.fits", sweep[left]))
    assert reason == "lacks 3 columns: FLUX_I, SERSIC, MASKBITS"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"FLUX_Z": "D"}, "FLUX_Z has format D, expected E"),
        ({"RA": "E"}, "RA has format E, expected D"),
        ({"EBV": "2E"}, "EBV has format 2E, expected E"),
        ({"EBV": "PE()"}, "EBV has variable length"),
        ({"FLUX_Z": "D", "OBJID": "K"}, "OBJID has format K, expected J; FLUX_Z has format D, expected E"),
    ],
)
def test_a_kept_column_of_another_format_is_refused(
    sweep_files: Any, tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    path = tmp_path / "sweep.fits"
    columns = []
    for name, tform in (dict(sweep_files.columns()) | change).items():
        values = sweep_files.make(2)[name]
        if tform == "2E":
            values = np.stack([values, values], axis=1)
        columns.append(fits.Column(name, tform, array=list(values[:, None]) if tform[0] == "P" else values))
    fits.BinTableHDU.from_columns(columns).writeto(path)
    assert reason in refusal(path)


@pytest.mark.parametrize("card", ["TZERO", "TSCAL", "TNULL"])
def test_scaled_or_nullable_kept_integers_are_refused(sweep_files: Any, tmp_path: Path, card: str) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(2))
    with fits.open(path) as hdus:
        number = hdus[1].columns.names.index("MASKBITS") + 1
    fits.setval(path, f"{card}{number}", value=32_768, ext=1)
    assert refusal(path).endswith(f"MASKBITS has {card}{number} = 32768")


def test_a_header_whose_widths_do_not_add_up_is_refused(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(2))
    path.write_bytes(path.read_bytes().replace(b"NAXIS1  =                  505", b"NAXIS1  =                  500"))
    assert refusal(path) == "its columns are 505 bytes wide, its header says NAXIS1 = 500"


def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(300))

    class Trickle(io.RawIOBase):
        def __init__(self) -> None:
            self.left = io.BytesIO(path.read_bytes())

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            return self.left.readinto(memoryview(buffer)[:777])

    assert sum(batch.num_rows for batch in read_sweep(io.BufferedReader(Trickle(), 1000))) == 300


def test_the_real_dr9_tractor_row_is_refused_for_its_missing_i_band(shared_data: Path) -> None:
    assert refusal(shared_data / "sweeps" / "tractor-1054p567.fits") == "lacks 2 columns: FLUX_I, NOBS_I"


def test_the_real_dr9_tractor_row_equals_astropy_in_the_columns_that_it_has(shared_data: Path) -> None:
    path = shared_data / "sweeps" / "tractor-1054p567.fits"
    columns = [column for column in SWEEP_COLUMNS if column.name not in {"FLUX_I", "NOBS_I"}]
    (batch,) = read_sweep(path, columns)
    table = fits.getdata(path, 1)
    assert batch.num_rows == 1
    assert batch.column("BRICK_PRIMARY").to_pylist() == table["BRICK_PRIMARY"].tolist()
    for column in columns:
        value = batch.column(column.name)[0].as_py()
        assert (value.rstrip(b"\0").decode() if isinstance(value, bytes) else value) == table[column.name][0]


@pytest.mark.parametrize("name", ["310m005-320p000", "320m005-330p000", "330m005-340p000"])
def test_real_dr8_sweeps_are_refused_with_every_missing_column(shared_data: Path, name: str) -> None:
    path = shared_data / "sweeps" / f"sweep-{name}.fits"
    have = set(fits.getdata(path, 1).columns.names)
    missing = [column for column in REQUIRED if column not in have]
    assert {"FLUX_I", "SERSIC", "SHAPE_R", "PSFSIZE_G", "FITBITS"} <= set(missing)
    assert refusal(path) == f"lacks {len(missing)} columns: {', '.join(missing)}"
