"""Whole loads: files through Spark into a real database."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from astropy.io import fits
from sqlalchemy import Engine, func, select, text

from db.models.catalog import Brick, Galaxy, SweepFile
from db.models.provenance import Run
from etl.errors import EtlError, LoadError, StorageError
from etl.survey import MOCK_RELEASE
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.load import LoadOptions, load_sweeps
from etl.sweeps.outcome import LoadOutcome
from etl.sweeps.source import find_sources
from etl.sweeps.status import last_load

Load = Callable[..., LoadOutcome]


@pytest.fixture
def load(engine: Engine, shared_session: Any) -> Load:
    """Load places with the session of all tests; keywords are those of the configuration."""

    def run(*places: Path | str, endpoint_url: str | None = None, verify: bool = False, **config: Any) -> LoadOutcome:
        sources = find_sources([str(place) for place in places], endpoint_url)
        options = LoadOptions(verify=verify, session=shared_session)
        return load_sweeps(engine, sources, SweepLoadConfig(**config), options)

    run.session = shared_session  # type: ignore[attr-defined]
    return run


def no_session(n_workers: int) -> Any:
    raise AssertionError(f"Spark was started for {n_workers} files although nothing was to do")


def ledger(engine: Engine) -> dict[str, SweepFile]:
    with engine.connect() as connection:
        return {row.name: row for row in connection.execute(select(SweepFile.__table__))}


def checksum(engine: Engine) -> str:
    """Digest of every row of the pool, the bricks and the ledger."""
    digest = hashlib.md5(usedforsecurity=False)
    with engine.connect() as connection:
        for table in ("galaxy", "brick", "sweep_file"):
            digest.update(
                str(
                    connection.scalar(
                        text(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM catalog.{table} t")
                    )
                ).encode()
            )
    return digest.hexdigest()


def n_galaxies(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(Galaxy)) or 0)


def test_files_plain_and_gzipped_load_with_every_value_that_astropy_reads(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    paths = [
        sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(30_000, seed=1)),
        sweep_files.write(tmp_path / "sweep-005m005-010p000.fits.gz", sweep_files.make(9_000, seed=2, ra=7.5)),
    ]
    result = load(tmp_path)
    assert [(outcome.name, outcome.status) for outcome in result.files] == [(path.name, "loaded") for path in paths]
    selections = {path.name: sweep_files.is_pool_galaxy(path) for path in paths}
    rows = ledger(engine)
    for path in paths:
        entry, selected = rows[path.name], selections[path.name]
        assert (entry.status, entry.survey, entry.data_release) == ("loaded", "dr10", 10)
        assert (entry.n_read, entry.n_kept) == (len(selected), selected.sum())
        assert entry.n_not_selected == (~selected).sum()
        assert (entry.n_bytes, entry.uri) == (path.stat().st_size, str(path))
        assert entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert n_galaxies(engine) == sum(selected.sum() for selected in selections.values()) == result.n_kept
    table = fits.getdata(paths[1], 1)[selections[paths[1].name]]
    keys = [(10_000 << 40) + (int(row["BRICKID"]) << 16) + int(row["OBJID"]) for row in table]
    with engine.connect() as connection:
        statement = select(Galaxy.__table__).where(Galaxy.sweep_file_id == rows[paths[1].name].sweep_file_id)
        stored = {row.ls_id: row for row in connection.execute(statement)}
        bricks = {row.brickid: row.brickname for row in connection.execute(select(Brick))}
    names = {"psfsize": "psf_fwhm_{}_arcsec", "ebv": "ebv_mag", "shape_r": "shape_r_arcsec"}
    assert set(stored) == set(keys)
    for name in ("RA", "DEC", "TYPE", "FLUX_I", "FLUX_IVAR_Z", "NOBS_Z", "PSFSIZE_R", "GALDEPTH_G", "EBV", "SERSIC"):
        stem, _, band = name.lower().rpartition("_")
        column = names.get(name.lower(), names.get(stem, name.lower())).format(band)
        found = [getattr(stored[key], column) for key in keys]
        np.testing.assert_array_equal(np.array(found, dtype=table[name].dtype), np.asarray(table[name]), err_msg=name)
    assert {int(row["BRICKID"]): row["BRICKNAME"] for row in table}.items() <= bricks.items()


def test_a_second_load_touches_nothing_and_does_not_start_spark(
    engine: Engine, load: Load, shared_session: Any, sweep_files: Any, tmp_path: Path
) -> None:
    sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(500))
    load(tmp_path)
    before = checksum(engine)
    for options in (LoadOptions(session=no_session), LoadOptions(verify=True, session=shared_session)):
        again = load_sweeps(engine, find_sources([str(tmp_path)]), SweepLoadConfig(), options)
        assert [outcome.status for outcome in again.files] == ["skipped"]
    assert checksum(engine) == before
    with engine.connect() as connection:
        assert connection.execute(select(Run.command, Run.status)).all() == [("sweeps load", "succeeded")] * 3


def test_a_file_that_was_written_again_with_the_same_bytes_is_skipped_and_then_known(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(500))
    load(path)
    later = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).timestamp()
    os.utime(path, (later, later))
    assert [outcome.status for outcome in load(path).files] == ["skipped"]
    options = LoadOptions(session=no_session)
    again = load_sweeps(engine, find_sources([str(path)]), SweepLoadConfig(), options)
    assert [outcome.status for outcome in again.files] == ["skipped"]


def test_a_change_is_noticed_though_size_is_the_same_and_the_time_is_older(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    sweep = sweep_files.make(500)
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep)
    load(path)
    before = checksum(engine)
    sweep["EBV"] += 1
    path.unlink()
    sweep_files.write(path, sweep)
    earlier = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).timestamp()
    os.utime(path, (earlier, earlier))
    assert [outcome.status for outcome in load(path).files] == ["loaded"]
    assert checksum(engine) != before


def test_a_pool_has_one_selection(engine: Engine, load: Load, sweep_files: Any, tmp_path: Path) -> None:
    load(sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(500)))
    other = sweep_files.write(tmp_path / "sweep-005m005-010p000.fits", sweep_files.make(50, seed=2, ra=7.5))
    with pytest.raises(LoadError, match=r"to z = 21 \(sweep-000m005-005p000.fits\), this load asks for .* to z = 20:"):
        load(other, mag_z_max=20)
    assert ledger(engine).keys() == {"sweep-000m005-005p000.fits"}


def test_a_file_that_cannot_be_read_has_failed_and_is_not_at_fault(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    good = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(500))
    gone = sweep_files.write(tmp_path / "sweep-005m005-010p000.fits", sweep_files.make(50, seed=2, ra=7.5))
    sources = find_sources([str(tmp_path)])
    gone.unlink()
    options = LoadOptions(session=load.session)  # type: ignore[attr-defined]
    result = load_sweeps(engine, sources, SweepLoadConfig(), options)
    assert [(outcome.name, outcome.status) for outcome in result.files] == [
        (good.name, "loaded"),
        (gone.name, "failed"),
    ]
    assert "No such file" in str(result.files[1].reason)
    assert ledger(engine).keys() == {good.name}
    status = last_load(engine)
    assert status is not None
    assert status.problems == [(gone.name, "failed", str(result.files[1].reason))]


def test_refused_files_are_recorded_with_their_reason_and_the_others_load(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    good = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(500))
    cut = sweep_files.write(tmp_path / "sweep-005m005-010p000.fits", sweep_files.make(5000, seed=2, ra=7.5))
    cut.write_bytes(cut.read_bytes()[:2_000_000])
    sweep = sweep_files.make(10, seed=3)
    narrow = sweep_files.write(
        tmp_path / "sweep-010m005-015p000.fits", sweep[[name for name in sweep.dtype.names if name != "EBV"]]
    )
    old = sweep_files.write(tmp_path / "sweep-015m005-020p000.fits", sweep_files.make(10, release=8000))
    (tmp_path / "sweep-020m005-025p000.fits").write_text("not FITS at all")
    result = load(tmp_path)
    reasons = {outcome.name: outcome.reason for outcome in result.with_status("refused")}
    assert reasons[cut.name].startswith("is truncated: its header says 5000 rows, it holds 3")  # type: ignore[union-attr]
    assert reasons[narrow.name] == "lacks 1 column: EBV"
    assert reasons[old.name].startswith("release 8000 is not DR10")  # type: ignore[union-attr]
    assert reasons["sweep-020m005-025p000.fits"] == "is not a FITS file"
    rows = ledger(engine)
    assert {name: row.error for name, row in rows.items()} == reasons | {good.name: None}
    assert n_galaxies(engine) == sweep_files.is_pool_galaxy(good).sum() == rows[good.name].n_kept


def test_a_refused_file_that_was_repaired_loads_in_place_of_its_refusal(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    path = tmp_path / "sweep-000m005-005p000.fits"
    path.write_bytes(b"broken")
    load(path)
    load(path)
    assert ledger(engine)[path.name].status == "refused"
    path.unlink()
    sweep_files.write(path, sweep_files.make(500, release=MOCK_RELEASE))
    assert [outcome.status for outcome in load(path).files] == ["loaded"]
    rows = ledger(engine)
    assert [(row.survey, row.status, row.error) for row in rows.values()] == [("mock", "loaded", None)]


def test_bad_rows_refuse_a_file_unless_quarantine_allows_them(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    sweep = sweep_files.make(40_000)
    sweep["TYPE"], sweep["FLUX_Z"] = b"DEV", 9
    sweep["RA"][20_000], sweep["EBV"][39_000] = 360, np.nan
    for name in ("BRICKID", "BRICKNAME", "OBJID"):
        sweep[name][30_000] = sweep[name][0]
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep)
    for allowed in (0, 2):
        (outcome,) = load(path, max_quarantine_rows=allowed).files
        assert outcome.status == "refused"
        assert "has 3 bad rows of 40000, first row 20000 (release/brickid/objid 10000/" in str(outcome.reason)
        assert "RA is not in [0, 360)" in str(outcome.reason)
        assert n_galaxies(engine) == 0
    (outcome,) = load(path, max_quarantine_rows=3).files
    assert (outcome.status, outcome.n_kept, len(outcome.quarantined)) == ("loaded", 39_997, 3)
    assert [row.split()[1] for row in sorted(outcome.quarantined)] == ["20000", "30000", "39000"]
    assert n_galaxies(engine) == 39_997
    assert ledger(engine)[path.name].n_quarantined == 3


def test_a_source_that_another_file_holds_refuses_the_later_file_by_name(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    sweep = sweep_files.make(100)
    sweep["TYPE"], sweep["FLUX_Z"] = b"DEV", 9
    first = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep)
    load(first)
    second = sweep_files.write(tmp_path / "tractor-x.fits", sweep[50:])
    (outcome,) = load(second).files
    key = (10_000 << 40) + (int(sweep["BRICKID"][50]) << 16) + int(sweep["OBJID"][50])
    assert outcome.reason == (
        f"source ls_id {key} is already in the catalog, from {first.name}; two files cannot hold one source"
    )
    assert n_galaxies(engine) == 100
    assert ledger(engine)[second.name].status == "refused"


@pytest.mark.parametrize("name", ["sweep-000m005-005p000.fits.gz", "sweep-000m004-010p001.fits"])
def test_sky_that_a_loaded_file_declares_comes_in_once(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path, name: str
) -> None:
    first = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(100))
    load(first)
    n_before = n_galaxies(engine)
    neighbour = sweep_files.write(tmp_path / "sweep-005m005-010p000.fits", sweep_files.make(100, seed=2, ra=7.5))
    assert [outcome.status for outcome in load(neighbour).files] == ["loaded"]
    (outcome,) = load(sweep_files.write(tmp_path / name, sweep_files.make(100, seed=3))).files
    assert str(outcome.reason).startswith("declares sky that sweep-00")
    assert n_galaxies(engine) == n_before + sweep_files.is_pool_galaxy(neighbour).sum()


def test_a_brick_that_has_another_name_in_the_catalog_refuses_the_file(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    sweep = sweep_files.make(100)
    sweep["TYPE"], sweep["FLUX_Z"] = b"DEV", 9
    load(sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep[:50]))
    sweep["BRICKNAME"] = b"renamed"
    (outcome,) = load(sweep_files.write(tmp_path / "tractor-x.fits", sweep[50:])).files
    assert "names brick" in str(outcome.reason)
    assert n_galaxies(engine) == 50


def test_a_file_without_rows_loads_as_empty(engine: Engine, load: Load, sweep_files: Any, tmp_path: Path) -> None:
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(0))
    (outcome,) = load(path).files
    assert (outcome.status, outcome.n_read) == ("loaded", 0)
    assert ledger(engine)[path.name].n_read == 0


def test_a_mock_and_a_dr10_file_of_one_name_both_load(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    for folder, release in (("real", 10_001), ("mock", MOCK_RELEASE)):
        (tmp_path / folder).mkdir()
        sweep_files.write(
            tmp_path / folder / "sweep-000m005-005p000.fits", sweep_files.make(300 + release, release=release)
        )
        assert [outcome.status for outcome in load(tmp_path / folder).files] == ["loaded"]
    with engine.connect() as connection:
        surveys = connection.execute(select(Galaxy.survey, func.min(Galaxy.ls_id)).group_by(Galaxy.survey))
        assert {survey: key >> 40 for survey, key in surveys} == {"dr10": 10_001, "mock": MOCK_RELEASE}


def test_files_load_from_an_object_store_by_key_prefix_and_pattern(
    engine: Engine,
    load: Load,
    sweep_files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store_credentials: dict[str, str],
) -> None:
    from moto.server import ThreadedMotoServer

    for name, value in store_credentials.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket="survey")
        paths = [
            sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(20_000)),
            sweep_files.write(tmp_path / "sweep-005m005-010p000.fits.gz", sweep_files.make(700, seed=2, ra=7.5)),
        ]
        for path in paths:
            client.upload_file(str(path), "survey", f"dr10/sweeps/{path.name}")
        client.put_object(Bucket="survey", Key="dr10/sweeps/README.txt", Body=b"about")
        for place in (
            f"s3://survey/dr10/sweeps/{paths[0].name}",
            "s3://survey/dr10/sw*/*.gz",
            "s3://survey/dr10/sweeps",
        ):
            result = load(place, endpoint_url=url)
        assert [outcome.status for outcome in result.files] == ["skipped", "skipped"]
        with pytest.raises(StorageError, match="no sweep file there"):
            find_sources(["s3://survey/dr9/"], url)
        with pytest.raises(StorageError, match="the object store refuses"):
            find_sources(["s3://elsewhere/x"], url)
    finally:
        server.stop()
    rows = ledger(engine)
    for path in paths:
        assert rows[path.name].uri == f"s3://survey/dr10/sweeps/{path.name}"
        assert rows[path.name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert rows[path.name].n_kept == sweep_files.is_pool_galaxy(path).sum()


def test_real_old_files_are_refused_by_name_with_their_missing_columns(
    engine: Engine, load: Load, shared_data: Path
) -> None:
    result = load(shared_data / "sweeps")
    assert {outcome.status for outcome in result.files} == {"refused"}
    rows = ledger(engine)
    assert len(rows) == 4
    assert rows["tractor-1054p567.fits"].error == "lacks 2 columns: FLUX_I, NOBS_I"
    assert all("FLUX_I" in row.error and row.error.startswith("lacks ") for row in rows.values())


def test_two_loads_of_one_file_at_once_write_it_once(
    engine: Engine, load: Load, sweep_files: Any, tmp_path: Path
) -> None:
    path = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(5000))
    with ThreadPoolExecutor(2) as threads:
        results = [result.result() for result in [threads.submit(load, path) for _ in range(2)]]
    assert sorted(result.files[0].status for result in results) == ["loaded", "skipped"]
    assert n_galaxies(engine) == sweep_files.is_pool_galaxy(path).sum()


def test_places_without_sweeps_and_names_given_twice_are_errors(sweep_files: Any, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere: no sweep file there"):
        find_sources([str(tmp_path / "nowhere")])
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        sweep_files.write(tmp_path / folder / "sweep-000m005-005p000.fits", sweep_files.make(1))
    assert len(find_sources([str(tmp_path / "a"), str(tmp_path / "a" / "sweep-*.fits")])) == 1
    with pytest.raises(StorageError, match="two files are named"):
        find_sources([str(tmp_path / "*" / "*.fits")])


def test_without_java_the_error_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from etl.sweeps.spark import find_java

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EtlError, match=r"no Java 17\+ runtime: JAVA_HOME is .* apt-get install openjdk-17"):
        find_java()
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    with pytest.raises(EtlError, match="is version 8;"):
        find_java()
