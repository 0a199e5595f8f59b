"""The job `cutouts`, by tasks of Spark: coadds and cutouts in a bucket, rows in the database."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import Engine

from db.settings import CHECKOUT
from etl.cutouts.config import CutoutConfig
from etl.cutouts.make import make_cutouts
from etl.emr.cutouts import run as run_cutouts
from etl.emr.errors import EmrError
from etl.storage import open_store
from tests.etl.cutout_sky import N_BRICKS, N_MEMBERS, Sky, brick_name, make_sky, write_bricks

MISSING = 5


@pytest.fixture
def sky(engine: Engine, tmp_path: Path) -> Sky:
    return make_sky(engine, write_bricks(tmp_path / "survey"), tmp_path / "store")


@pytest.fixture
def bucket(sky: Sky, store_credentials: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket that holds the coadds of all bricks but one, and where settings say that the store is."""
    for name, value in store_credentials.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("STRONGLENS_S3_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("STRONGLENS_STORE", "s3://lens/store")
        open_store("s3://lens", f"http://{host}:{port}").create()
        survey = open_store("s3://lens/dr10", f"http://{host}:{port}")
        for path in sorted(sky.coadds.rglob("*.fz")):
            if brick_name(MISSING) not in path.name:
                survey.put_bytes(path.relative_to(sky.coadds).as_posix(), path.read_bytes())
        yield open_store("s3://lens/store", f"http://{host}:{port}")
    finally:
        server.stop()


def test_spark_cuts_the_same_files_from_a_bucket_into_a_bucket_as_this_machine_from_a_folder(
    sky: Sky, bucket: Any, shared_session: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = CutoutConfig(draw="small", version="a")
    assert run_cutouts(config, ["s3://lens/dr10"], shared_session) == 1
    assert f"failed: brick {brick_name(MISSING)}: no legacysurvey-" in caplog.text
    assert capsys.readouterr().out == (
        f"{N_MEMBERS} members, 0 had their cutout; made now: {N_MEMBERS - 7} ok, 1 partial, 1 rejected\n"
    )
    make_cutouts(sky.engine, sky.config(version="b"), sky.address)
    made = {"a": {}, "b": {}}  # type: ignore[var-annotated]
    for row in sky.cutouts().values():
        made[row["version"]][row["lens_id"], row["ls_id"]] = (row["sha256"], row["status"], row["psf_fwhm_r_arcsec"])
    assert len(made["a"]) == len(made["b"]) - 5 == N_BRICKS * 5 + 1 - 5
    assert made["a"].items() <= made["b"].items()
    uris = {row["uri"] for row in sky.cutouts().values() if row["version"] == "a" and row["uri"]}
    assert {bucket.uri(key) for key in bucket.keys("cutouts/")} == uris
    # What failed is made when the brick is there; the rest is not touched.
    assert run_cutouts(config, ["s3://lens/dr10"], shared_session) == 1
    assert f"{N_MEMBERS - 5} had their cutout; made now: 0 ok" in capsys.readouterr().out


def test_the_job_takes_one_place(shared_session: Any) -> None:
    with pytest.raises(EmrError, match="takes one place, that of the coadds, not 2: a b"):
        run_cutouts(CutoutConfig(), ["a", "b"], shared_session)


def test_the_nodes_packages_are_all_that_the_jobs_code_imports() -> None:
    locked = {
        re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
        for line in (CHECKOUT / "requirements-etl.lock").read_text().splitlines()
        if "==" in line
    }
    code = f"""
import importlib, re, sys
from importlib.metadata import packages_distributions
locked = {locked}
tops = {{top for top, names in packages_distributions().items()
        if not locked & {{re.sub(r"[-_.]+", "-", name).lower() for name in names}}}}
for top in tops - {{"stronglens", "db", "etl", "migrations"}}:
    sys.modules[top] = None
for name in ("etl.emr.cutouts", "etl.cutouts.brick", "etl.cutouts.edges", "fitsio", "boto3", "healpy"):
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
