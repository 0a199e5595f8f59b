"""One load of a folder with every kind of bad file: each is refused for its own reason, and the good ones are whole."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy import Engine, select
from sqlalchemy.engine import URL

from db.models.catalog import Brick, Galaxy, SweepFile
from etl.errors import SweepFileError
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.reader import read_sweep
from etl.sweeps.source import find_sources

RunCli = Callable[..., subprocess.CompletedProcess[str]]
N_ROWS = 600


def sweep_name(number: int) -> str:
    return f"sweep-{5 * number:03d}m005-{5 * number + 5:03d}p000.fits"


@dataclass
class Folder:
    """Sweep files, each in a patch of sky of its own; `reasons` says what each bad one is refused for."""

    path: Path
    sweep_files: Any
    good: list[Path] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    n_files: int = 0

    def rows(self) -> Any:
        """Rows of the next patch, all of them galaxies of the pool but for a third."""
        rows = self.sweep_files.make(N_ROWS, seed=self.n_files + 1, ra=5 * self.n_files + 2.5)
        rows["TYPE"] = np.where(np.arange(N_ROWS) % 3 == 0, b"PSF", b"DEV")
        rows["FLUX_Z"] = 9
        return rows

    def write(self, rows: Any, suffix: str = "") -> Path:
        name = sweep_name(self.n_files) + suffix
        self.n_files += 1
        return Path(self.sweep_files.write(self.path / name, rows))

    def add_good(self, suffix: str = "") -> Path:
        self.good.append(self.write(self.rows(), suffix))
        return self.good[-1]

    def add_bad(self, reason: str, rows: Any = None, suffix: str = "") -> Path:
        path = self.write(self.rows() if rows is None else rows, suffix)
        self.reasons[path.name] = reason
        return path

    def add_changed(self, reason: str, row: int, **values: Any) -> None:
        """A file that is bad in one row alone."""
        rows = self.rows()
        for name, value in values.items():
            rows[name][row] = value
        self.add_bad(reason, rows)


def table_start(path: Path) -> int:
    with fits.open(path) as hdus:
        return int(hdus[1].fileinfo()["datLoc"])


def keys_of(path: Path, sweep_files: Any) -> set[int]:
    """Keys of a file's pool galaxies as astropy reads them."""
    chosen = fits.getdata(path, 1)[sweep_files.is_pool_galaxy(path)]
    release, brickid, objid = (np.asarray(chosen[name], np.int64) for name in ("RELEASE", "BRICKID", "OBJID"))
    return set((release * 2**40 + brickid * 2**16 + objid).tolist())


def add_unreadable(folder: Folder) -> None:
    cut = folder.add_bad(f"is truncated: its header says {N_ROWS} rows, it holds 321")
    cut.write_bytes(cut.read_bytes()[: table_start(cut) + 321 * 505 + 77])
    cut = folder.add_bad("is truncated: its gzip stream ends early", suffix=".gz")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    damaged = folder.add_bad("is a damaged gzip file", suffix=".gz")
    damaged.write_bytes(damaged.read_bytes() + b"<html>503 Slow Down</html>")
    empty = folder.add_bad("is empty: it has 0 bytes")
    empty.write_bytes(b"")
    page = folder.add_bad("is not a FITS file")
    page.write_text("<html><body>404 Not Found</body></html>\n" * 200)


def add_lying(folder: Folder) -> None:
    for said, reason in (
        (N_ROWS + 100, f"is truncated: its header says {N_ROWS + 100} rows, it holds {N_ROWS}"),
        (N_ROWS + 3, "release 0 is not DR10"),  # what pads the last block would make three rows of zeros
        (N_ROWS - 100, f"goes on after the {N_ROWS - 100} rows that its header says"),
        (N_ROWS - 1, f"goes on after the {N_ROWS - 1} rows that its header says"),
    ):
        path = folder.add_bad(reason)
        fits.setval(path, "NAXIS2", value=said, ext=1)


def add_misshapen(folder: Folder) -> None:
    rows = folder.rows()
    left = [name for name in rows.dtype.names if name not in {"FLUX_I", "EBV"}]
    folder.add_bad("lacks 2 columns: FLUX_I, EBV", rows[left])
    for changed, reason in (
        ({"FLUX_Z": "D", "RA": "E"}, "RA has format E, expected D; FLUX_Z has format D, expected E"),
        ({"OBJID": "K"}, "OBJID has format K, expected J"),
        ({"RA": "K"}, "RA has format K, expected D"),
        ({"MASKBITS": "PJ()"}, "MASKBITS has variable length"),
    ):
        path = folder.add_bad(reason)
        table = fits.getdata(path, 1)
        forms = dict(folder.sweep_files.columns()) | changed
        columns = [
            fits.Column(name, form, array=list(table[name][:, None]) if form[0] == "P" else table[name])
            for name, form in forms.items()
        ]
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path, overwrite=True)


def key_of(folder: Folder, row: int) -> str:
    """How a reason names a row of the next file."""
    rows = folder.rows()[row]
    return f"(release/brickid/objid {rows['RELEASE']}/{rows['BRICKID']}/{rows['OBJID']})"


def add_out_of_range(folder: Folder) -> None:
    for value, said in ((np.nan, "nan"), (np.inf, "inf"), (360.0, "360.0"), (-0.5, "-0.5")):
        folder.add_changed(
            f"has 1 bad row of 600, first row 400 {key_of(folder, 400)}: RA is not in [0, 360): {said};", 400, RA=value
        )
    for value, said in ((np.nan, "nan"), (-np.inf, "-inf"), (91.0, "91.0")):
        folder.add_changed(
            f"has 1 bad row of 600, first row 598 {key_of(folder, 598)}: DEC is not in [-90, 90]: {said};",
            598,
            DEC=value,
        )
    folder.add_changed("FLUX_Z is not finite: nan", 1, FLUX_Z=np.nan)
    folder.add_changed("its position is outside the file name's box: ", 2, DEC=1.5)
    rows = folder.rows()
    for name in ("BRICKID", "BRICKNAME", "OBJID"):
        rows[name][500] = rows[name][4]
    folder.add_bad("first row 500 ", rows)


@pytest.fixture
def folder(tmp_path: Path, sweep_files: Any) -> Folder:
    """Good files between bad ones, so that each kind is met before, after and beside good ones."""
    made = Folder(tmp_path / "sweeps", sweep_files)
    made.path.mkdir()
    made.add_good()
    for add_bad_files in (add_unreadable, add_lying, add_misshapen, add_out_of_range):
        add_bad_files(made)
        made.add_good(".gz")
    return made


@pytest.fixture
def twins(folder: Folder) -> tuple[Path, Path]:
    """Two files of which either would be good alone: they share one source, each at a place of its own."""
    first = folder.write(folder.rows())
    rows = folder.rows()
    shared = fits.getdata(first, 1)[7]
    for name in ("BRICKID", "BRICKNAME", "OBJID"):
        rows[name][100] = shared[name]
    return first, folder.write(rows)


def stored_keys(engine: Engine) -> dict[str, set[int]]:
    """Keys in the pool, by the file they came from."""
    statement = select(SweepFile.name, Galaxy.ls_id).join(Galaxy, Galaxy.sweep_file_id == SweepFile.sweep_file_id)
    found: dict[str, set[int]] = {}
    with engine.connect() as connection:
        for name, key in connection.execute(statement):
            found.setdefault(name, set()).add(key)
    return found


def test_every_bad_file_is_refused_for_its_reason_and_every_good_one_is_whole(
    engine: Engine,
    database_url: URL,
    shared_session: Any,
    sweep_files: Any,
    folder: Folder,
    twins: tuple[Path, Path],
    run_cli: RunCli,
) -> None:
    result = load_sweeps(
        engine, find_sources([str(folder.path)]), SweepLoadConfig(), LoadOptions(session=shared_session)
    )
    refused = {outcome.name: str(outcome.reason) for outcome in result.with_status("refused")}
    # Which of the twins comes first is anyone's guess; the other one is refused by name.
    (loser,) = {path.name for path in twins} & set(refused)
    (winner,) = (path for path in twins if path.name != loser)
    assert "is already in the catalog" in refused[loser]
    assert f", from {winner.name}; two files cannot hold one source" in refused[loser]
    assert set(refused) == set(folder.reasons) | {loser}
    for name, reason in folder.reasons.items():
        assert reason in refused[name], name
        assert "\n" not in refused[name]
    assert {name for name in refused if "ls_id repeats within the file" in refused[name]} == {
        name for name, reason in folder.reasons.items() if reason == "first row 500 "
    }
    loaded = [*folder.good, winner]
    assert {outcome.name for outcome in result.with_status("loaded")} == {path.name for path in loaded}
    assert len(result.files) == folder.n_files

    found = stored_keys(engine)
    assert found == {path.name: keys_of(path, sweep_files) for path in loaded}
    with engine.connect() as connection:
        ledger = {row.name: row for row in connection.execute(select(SweepFile.__table__))}
        bricks = set(connection.scalars(select(Brick.brickid)))
    assert bricks == {key >> 16 & 0xFFFFFF for keys in found.values() for key in keys}
    assert {name: row.error for name, row in ledger.items() if row.status == "refused"} == refused
    assert {name for name, row in ledger.items() if row.status == "loaded"} == set(found)
    assert all((row.n_read, row.n_kept) == (0, 0) for row in ledger.values() if row.status == "refused")

    # The command tries the refused ones again and says the same, a line each.
    done = run_cli("sweeps", "load", str(folder.path))
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == (
        f"0 loaded, {len(loaded)} skipped, {len(refused)} refused of {folder.n_files} sweep files"
    )
    said = [line for line in done.stderr.splitlines() if line]
    assert said == [f"refused: {name}: {refused[name]}" for name in sorted(refused)]
    assert stored_keys(engine) == found


def test_what_lies_within_a_gzip_stream_is_judged_as_in_a_plain_file(tmp_path: Path, sweep_files: Any) -> None:
    folder = Folder(tmp_path, sweep_files)
    for add_bad_files in (add_lying, add_misshapen):
        add_bad_files(folder)
    reasons = {name: reason for name, reason in folder.reasons.items() if "release" not in reason}
    for name, reason in reasons.items():
        path = tmp_path / name
        path.write_bytes(gzip.compress(path.read_bytes(), 1))
        with pytest.raises(SweepFileError) as refused:
            list(read_sweep(path))
        assert reason in str(refused.value)
