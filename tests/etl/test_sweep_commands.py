"""`stronglens sweeps` as a user types it, with a Spark of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

RunCli = Callable[..., subprocess.CompletedProcess[str]]


def test_load_says_what_it_did_quietly_and_status_repeats_it(
    database_url: URL, run_cli: RunCli, sweep_files: Any, tmp_path: Path
) -> None:
    sweep = sweep_files.make(3000)
    sweep["RA"][5], sweep["TYPE"][5], sweep["FLUX_Z"][5] = 360, b"SER", 50
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep)
    n_kept = sweep_files.is_pool_galaxy(path).sum() - 1
    (tmp_path / "sweep-005m005-010p000.fits").write_bytes(b"broken")
    done = run_cli("sweeps", "load", str(tmp_path), "--quarantine-rows", "1")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "1 loaded, 0 skipped, 1 refused of 2 sweep files",
        f"3000 rows read, {n_kept} kept, 1 quarantined",
    ]
    assert "refused: sweep-005m005-010p000.fits: is not a FITS file" in done.stderr
    assert "quarantined row 5" in " ".join(done.stderr.split())
    for noise in ("WARN ", "log4j", "Setting default log level", "Traceback"):
        assert noise not in done.stderr
    (tmp_path / "sweep-005m005-010p000.fits").unlink()
    again = run_cli("sweeps", "load", str(tmp_path))
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "0 loaded, 1 skipped, 0 refused of 1 sweep files")
    status = run_cli("sweeps", "status")
    load, rate, refused, pool = status.stdout.splitlines()
    assert "ended): 2 of 2 files done (1 loaded, 1 refused)" in load
    assert "MB/s" in rate
    assert rate.endswith("0.00 GB left")
    assert pool == f"pool: 1 files loaded, 3,000 rows read, {n_kept:,} kept"
    assert refused == "  refused: sweep-005m005-010p000.fits: is not a FITS file"
    *_, loaded, refused_too = run_cli("sweeps", "status", "--files").stdout.splitlines()
    assert loaded.split()[:5] == ["dr10", path.name, "loaded", "3000", str(n_kept)]
    assert refused_too.endswith("is not a FITS file")


def test_a_pool_is_loaded_in_bulk_indexed_and_unloaded(
    database_url: URL, run_cli: RunCli, sweep_files: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(300))
    n_kept = sweep_files.is_pool_galaxy(path).sum()
    done = run_cli("sweeps", "load", str(tmp_path), "--bulk", "--no-index")
    assert done.stdout.splitlines()[-1].startswith("the pool has no indexes yet: run `stronglens sweeps index`")
    status = run_cli("sweeps", "status").stdout.splitlines()
    assert status[-1] == "pool: it has no indexes yet: run `stronglens sweeps index` once all files are in"
    for word in ("are built", "the pool has its key and indexes"):
        assert word in run_cli("sweeps", "index").stdout
    assert run_cli("sweeps", "unload", path.name).stdout == f"{path.name}: {n_kept} galaxies taken out\n"
    again = run_cli("sweeps", "unload", path.name)
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)


def test_mistakes_are_one_line(database_url: URL, run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "load.yaml").write_text("mag_z: 20\n")
    for arguments, expected in (
        (["sweeps", "load", str(tmp_path / "nowhere")], "no sweep file there"),
        (["sweeps", "load", str(tmp_path), "--config", str(tmp_path / "load.yaml")], "unknown key 'mag_z'"),
    ):
        done = run_cli(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert expected in done.stderr
