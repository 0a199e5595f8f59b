"""The answer of a cross-match as CSV, FITS or VOTable."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.table import MaskedColumn, Table

from etl.crossmatch.errors import CrossmatchError
from etl.crossmatch.positions import ending

FORMATS = {".csv": "csv", ".fits": "fits", ".fit": "fits", ".vot": "votable", ".votable": "votable", ".xml": "votable"}
"""Endings of the names of files that can be written, and their format."""

NO_NUMBER = -1
"""What a missing integer is in FITS and VOTable, where it is declared as null."""

_UNITS = {
    **dict.fromkeys(("input_ra", "input_dec", "ra", "dec"), "deg"),
    **dict.fromkeys(("separation_arcsec", "lens_separation_arcsec"), "arcsec"),
    **dict.fromkeys(("mag_g_ab", "mag_r_ab", "mag_z_ab"), "mag"),
}


def check_output(path: Path | None) -> None:
    """Refuse a file that cannot be written, before any work is done.

    Raises
    ------
    CrossmatchError
        When its name says no format, or its folder is not there.
    """
    if path is None:
        return
    ending(path, FORMATS)
    if not path.parent.is_dir():
        raise CrossmatchError(f"{path}: there is no folder {path.parent}")


def write_answers(answers: pa.Table, path: Path | None) -> None:
    """Write the answers in the format of the file's name, or as CSV to standard output without one.

    The file appears when it is whole; one that was there is replaced.
    """
    if path is None:
        _write_csv(answers, sys.stdout)
        return
    part = path.with_name(f".{path.name}.part")
    try:
        format_ = FORMATS[ending(path, FORMATS)]
        if format_ == "csv":
            with part.open("w", newline="", encoding="utf-8") as stream:
                _write_csv(answers, stream)
        else:
            options = {"tabledata_format": "binary2"} if format_ == "votable" else {}
            _as_astropy(answers).write(part, format=format_, overwrite=True, **options)
        part.replace(path)
    except OSError as exc:
        raise CrossmatchError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)


def _write_csv(answers: pa.Table, stream: TextIO) -> None:
    """Write numbers with all their digits; what is missing is empty."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(answers.column_names)
    for batch in answers.to_batches(max_chunksize=50_000):
        writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def _as_astropy(answers: pa.Table) -> Table:
    """Return the answers with units; integers stay integers, since a key of 54 bits does not survive as a float."""
    made = Table()
    for name in answers.column_names:
        column = answers.column(name).combine_chunks()
        made[name] = _masked(column, _UNITS.get(name))
    return made


def _masked(column: pa.Array, unit: str | None) -> MaskedColumn:
    is_missing = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type):
        values = pc.fill_null(column, NO_NUMBER).to_numpy(zero_copy_only=False)
        return MaskedColumn(values, mask=is_missing, unit=unit, fill_value=NO_NUMBER)
    if pa.types.is_string(column.type):
        words = np.array(pc.fill_null(column, "").to_pylist(), dtype=np.str_)
        return MaskedColumn(words if words.itemsize else words.astype("U1"), mask=is_missing, fill_value="")
    values = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False)
    return MaskedColumn(values, mask=is_missing, unit=unit, fill_value=np.nan)
