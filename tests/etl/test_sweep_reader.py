"""The FITS reader against astropy, and its refusals."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from etl.errors import SweepFileError
from etl.sweeps.columns import SWEEP_COLUMNS
from etl.sweeps.reader import CHUNK_ROWS, read_sweep

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
    chunks = list(read_sweep(path))
    assert [rows.num_rows for rows in chunks] == [CHUNK_ROWS, CHUNK_ROWS, 7]
    assert list(chunks[0].columns) == REQUIRED
    table = fits.getdata(path, 1)
    for column in SWEEP_COLUMNS:
        if not column.is_required:
            continue
        expected = np.asarray(table[column.name])
        found = np.concatenate([rows.values(column.name) for rows in chunks])
        if column.numpy_type is None:
            found = found.astype(str)
        else:
            assert found.dtype == column.numpy_type
            assert found.dtype.isnative
        np.testing.assert_array_equal(found, expected, err_msg=column.name)
        values = [value for rows in chunks for value in rows.column(column.name).to_pylist()]
        if column.numpy_type is None:
            values = [value.rstrip(b"\0").decode() for value in values]
        assert values == expected.tolist(), column.name


def test_padded_types_lose_their_blanks(sweep_files: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(3)
    sweep["BRICKNAME"] = [b"0001m040", b"0001m4  ", b""]
    path = sweep_files.write(tmp_path / "sweep.fits", sweep)
    (rows,) = read_sweep(path)
    assert rows.values("BRICKNAME").tolist() == [b"0001m040", b"0001m4", b""]
    assert rows.column("BRICKNAME").to_pylist() == [b"0001m040", b"0001m4\0\0", bytes(8)]


def test_column_names_match_in_lower_case_and_any_order(sweep_files: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(5)
    columns = [fits.Column(name.lower(), tform, array=sweep[name]) for name, tform in reversed(sweep_files.columns())]
    path = tmp_path / "tractor-0001m040.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)
    (rows,) = read_sweep(path)
    np.testing.assert_array_equal(rows.values("FLUX_Z"), sweep["FLUX_Z"])


def test_a_table_behind_an_image_is_found(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(4))
    image = fits.ImageHDU(np.ones((30, 50), np.float32))
    with fits.open(path) as hdus:
        fits.HDUList([fits.PrimaryHDU(np.ones(7, np.int16)), image, hdus[1].copy()]).writeto(tmp_path / "deep.fits")
    assert [rows.num_rows for rows in read_sweep(tmp_path / "deep.fits")] == [4]


def test_a_table_without_rows_gives_no_rows(sweep_files: Any, tmp_path: Path) -> None:
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
        (b"", "is empty: it has 0 bytes"),
        (gzip.compress(b"", mtime=0), "is empty: it has 0 bytes"),
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


def test_a_negative_row_count_is_refused(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(2))
    said = b"NAXIS2  =                    2"
    path.write_bytes(path.read_bytes().replace(said, said.replace(b" 2", b"-2")))
    assert refusal(path) == "its table header is not valid FITS (NAXIS2 = -2, PCOUNT = 0)"


def test_a_primary_header_that_does_not_say_its_size_is_refused(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(2))
    with fits.open(path) as hdus:
        fits.HDUList([fits.PrimaryHDU(np.ones(7, np.int16)), hdus[1].copy()]).writeto(tmp_path / "lost.fits")
    whole = (tmp_path / "lost.fits").read_bytes()
    (tmp_path / "lost.fits").write_bytes(whole.replace(b"NAXIS1  =", b"NOTHING =", 1))
    assert "has an unreadable header" in refusal(tmp_path / "lost.fits")
    (tmp_path / "lost.fits").write_bytes(whole[: 2880 + 100])
    assert refusal(tmp_path / "lost.fits") == "is truncated: a header says 14 bytes of data, 100 follow"


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(("said", "n_more"), [(999, 1), (996, 4), (900, 100), (0, 1000)])
def test_a_header_that_says_too_few_rows_is_refused_with_both_numbers(
    sweep_files: Any, tmp_path: Path, said: int, n_more: int, compress: Callable[[bytes], bytes]
) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(1000))
    fits.setval(path, "NAXIS2", value=said, ext=1)
    path.write_bytes(compress(path.read_bytes()))
    match = re.fullmatch(
        f"goes on after the {said} rows that its header says: (\\d+) more bytes, enough for (\\d+) more rows",
        refusal(path),
    )
    assert match is not None
    assert n_more * 505 <= int(match[1]) < n_more * 505 + 2880
    assert int(match[2]) == int(match[1]) // 505


def test_a_file_that_was_cut_behind_its_last_row_is_refused(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(1000))
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(path) == "is truncated: it ends within a block, after the 1000 rows that its header says"


def test_further_hdus_behind_the_table_are_passed_over_unless_they_are_cut(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(30))
    fits.append(path, np.ones((40, 50), np.float32))
    fits.append(path, np.ones(9, np.int16))
    assert [rows.num_rows for rows in read_sweep(path)] == [30]
    whole = path.read_bytes()
    path.write_bytes(whole[:-2880])
    assert refusal(path) == "is truncated: a header says 18 bytes of data, 0 follow"
    path.write_bytes(whole[: -2880 - 2000])
    assert refusal(path) == "is truncated within a header"


def test_what_columns_that_are_not_kept_hold_does_not_matter(sweep_files: Any, tmp_path: Path) -> None:
    sweep = sweep_files.make(700)
    columns = [fits.Column(name, tform, array=sweep[name]) for name, tform in sweep_files.columns()]
    rng = np.random.default_rng(3)
    others = [
        fits.Column("FLAGS", "11X", array=rng.integers(0, 2, (700, 11)).astype(bool)),
        fits.Column("SCALED", "I", array=np.arange(700)),
        fits.Column("UNSIGNED", "J", array=np.arange(700).astype(np.uint32) + 2**31, bzero=2**31),
        fits.Column("NULLABLE", "K", array=np.arange(700), null=-1),
        fits.Column("APFLUX", "24E", array=rng.random((700, 8, 3)), dim="(3,8)"),
        fits.Column("NOTES", "PJ()", array=[np.arange(n % 5) for n in range(700)]),
        fits.Column("NOTHING", "0E"),
    ]
    for place in (0, 3, 130):
        columns[place:place] = others[:3] if place == 0 else others[3:5] if place == 3 else others[5:]
    path = tmp_path / "sweep.fits"
    fits.BinTableHDU.from_columns(columns).writeto(path)
    fits.setval(path, "TSCAL2", value=0.25, ext=1)
    fits.setval(path, "TZERO2", value=-3.0, ext=1)
    header = fits.getheader(path, 1)
    assert (header["TTYPE2"], header["PCOUNT"] > 0) == ("SCALED", True)
    chunks = list(read_sweep(path))
    for name in ("RELEASE", "OBJID", "RA", "FLUX_Z", "MASKBITS", "FITBITS"):
        np.testing.assert_array_equal(np.concatenate([rows.values(name) for rows in chunks]), sweep[name])
    path.write_bytes(path.read_bytes()[:-2880])
    assert refusal(path) == "is truncated: it ends within a block, after the 700 rows that its header says"


def test_neutral_scaling_of_a_kept_column_is_no_scaling(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(2))
    with fits.open(path) as hdus:
        number = hdus[1].columns.names.index("MASKBITS") + 1
    fits.setval(path, f"TSCAL{number}", value=1.0, ext=1)
    fits.setval(path, f"TZERO{number}", value=0, ext=1)
    assert [rows.num_rows for rows in read_sweep(path)] == [2]


@pytest.mark.parametrize("card", [("TDIM", "(4,2)"), ("TFORM", "8A4")])
def test_a_kept_text_column_of_several_texts_a_row_is_refused(
    sweep_files: Any, tmp_path: Path, card: tuple[str, str]
) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(2))
    with fits.open(path) as hdus:
        number = hdus[1].columns.names.index("BRICKNAME") + 1
    fits.setval(path, f"{card[0]}{number}", value=card[1], ext=1)
    assert "BRICKNAME holds several texts a row" in refusal(path)


def test_a_gzip_file_of_several_members_is_read_whole(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(1000))
    whole = path.read_bytes()
    parts = (whole[:2000], whole[2000:300_001], b"", whole[300_001:])
    path.write_bytes(b"".join(gzip.compress(part) for part in parts) + bytes(512))
    table = fits.getdata(io.BytesIO(whole), 1)
    (rows,) = read_sweep(path)
    np.testing.assert_array_equal(rows.values("RA"), table["RA"])


@pytest.mark.parametrize("garbage", [b"<html>503</html>", b"\0\0\0rest", b"\x1f\x8b"])
def test_garbage_behind_a_file_or_a_gzip_stream_is_refused(sweep_files: Any, tmp_path: Path, garbage: bytes) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(1000))
    whole = path.read_bytes()
    path.write_bytes(whole + garbage)
    assert refusal(path).startswith(f"goes on after the 1000 rows that its header says: {1880 + len(garbage)} more")
    path.write_bytes(gzip.compress(whole) + garbage)
    assert "damaged gzip" in refusal(path) or "gzip stream ends early" in refusal(path)


def test_a_stream_that_gives_few_bytes_at_a_time_is_read_whole(sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep.fits", sweep_files.make(300))

    class Trickle(io.RawIOBase):
        def __init__(self) -> None:
            self.left = io.BytesIO(path.read_bytes())

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            return self.left.readinto(memoryview(buffer)[:777])

    assert sum(rows.num_rows for rows in read_sweep(io.BufferedReader(Trickle(), 1000))) == 300


def test_the_real_dr9_tractor_row_is_refused_for_its_missing_i_band(shared_data: Path) -> None:
    assert refusal(shared_data / "sweeps" / "tractor-1054p567.fits") == "lacks 2 columns: FLUX_I, NOBS_I"


def test_the_real_dr9_tractor_row_equals_astropy_in_the_columns_that_it_has(shared_data: Path) -> None:
    path = shared_data / "sweeps" / "tractor-1054p567.fits"
    columns = [column for column in SWEEP_COLUMNS if column.name not in {"FLUX_I", "NOBS_I"}]
    (rows,) = read_sweep(path, columns)
    table = fits.getdata(path, 1)
    assert rows.num_rows == 1
    assert rows.column("BRICK_PRIMARY").to_pylist() == rows.values("BRICK_PRIMARY").tolist()
    assert rows.values("BRICK_PRIMARY").tolist() == table["BRICK_PRIMARY"].tolist()
    for column in columns:
        value = rows.values(column.name)[0]
        assert (value.decode() if isinstance(value, bytes) else value) == table[column.name][0]


@pytest.mark.parametrize("name", ["310m005-320p000", "320m005-330p000", "330m005-340p000"])
def test_real_dr8_sweeps_are_refused_with_every_missing_column(shared_data: Path, name: str) -> None:
    path = shared_data / "sweeps" / f"sweep-{name}.fits"
    have = set(fits.getdata(path, 1).columns.names)
    missing = [column for column in REQUIRED if column not in have]
    assert {"FLUX_I", "SERSIC", "SHAPE_R", "PSFSIZE_G", "FITBITS"} <= set(missing)
    assert refusal(path) == f"lacks {len(missing)} columns: {', '.join(missing)}"
