"""The whole path of a cluster on this machine: launch, bootstrap, spark-submit with the step's own arguments."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyspark
import pytest
from astropy.io import fits
from sqlalchemy import Engine, create_engine, make_url, select, text, update

from db.models.catalog import Galaxy, SweepFile, SweepTask
from db.models.provenance import Run
from db.provenance import CHECKOUT, code_sha256
from etl.emr.archive import code_archive
from etl.emr.config import load_emr_config
from etl.emr.errors import EmrError
from etl.emr.sweeps import run as run_sweeps
from etl.emr.upload import folder_of, upload
from etl.sweeps.config import SweepLoadConfig
from etl.sweeps.queue import MAX_ATTEMPTS
from tests.etl.emr.conftest import PASSWORD, REGION, Cli, Cloud, let_in
from tests.etl.emr.tls import TlsServer

BOOTSTRAP = CHECKOUT / "etl" / "emr" / "bootstrap.sh"
REQUIREMENTS = CHECKOUT / "requirements-etl.lock"
SPARK_HOME = Path(pyspark.__file__).parent


def bootstrap(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", *map(str, arguments)], env=os.environ | environment, capture_output=True, text=True, timeout=170
    )


def fake_aws(folder: Path) -> str:
    """Put an `aws s3 cp` that boto3 serves on the PATH, which EMR's nodes have."""
    folder.mkdir()
    code = (
        "import sys, boto3; source, target = sys.argv[-2:]; bucket, _, key = source[5:].partition('/'); "
        "boto3.client('s3').download_file(bucket, key, target)"
    )
    (folder / "aws").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    (folder / "aws").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def fetched(cloud: Cloud, uri: str, folder: Path) -> Path:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    path = folder / uri.rpartition("/")[2]
    cloud.client("s3").download_file(bucket, key, str(path))
    return path


def test_two_named_files_go_from_a_launch_to_rows_with_nothing_but_what_a_node_has(
    cloud: Cloud, tls: TlsServer, cli: Cli, sweep_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("sweep-000m005-005p000.fits", "sweep-005m005-010p000.fits.gz")
    paths = [
        sweep_files.write(tmp_path / name, sweep_files.make(3000, seed=seed, ra=5 * seed - 2.5))
        for seed, name in enumerate(names, start=1)
    ]
    store = cloud.client("s3")
    for path in (*paths, tls.authority):
        store.upload_file(str(path), cloud.bucket, path.name)
    let_in(cloud.client("ec2"), cloud.database_group, cloud.own_group, tls.port)
    prefix = tmp_path / "node"
    config = cloud.config(
        tmp_path,
        database_url=tls.url,
        root_certificate=f"s3://{cloud.bucket}/{tls.authority.name}",
        prefix=str(prefix),
    )
    # The launcher's own connection takes its password from the secret, too.
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", f"{tls.url}&sslrootcert={tls.authority}")
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", "lens-db")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    places = [f"s3://{cloud.bucket}/{name}" for name in names]
    launched = cli("emr", "launch", "--preset", "test", "--config", str(config), "sweeps", *places)
    assert launched.returncode == 0, launched.stderr
    cluster = launched.stdout.partition(":")[0]
    emr = cloud.client("emr")

    # Each node: the bootstrap action, with its own arguments.
    action = emr.list_bootstrap_actions(ClusterId=cluster)["BootstrapActions"][0]
    script = fetched(cloud, action["ScriptPath"], tmp_path)
    node = {"PATH": fake_aws(tmp_path / "bin"), "PYTHONPATH": "", **cloud.environment, "AWS_DEFAULT_REGION": REGION}
    booted = bootstrap(script, *action["Args"], **node, PIP_NO_COMPILE="1")  # half the time; imports compile
    assert booted.returncode == 0, booted.stderr
    assert (prefix / "root-certificate.pem").read_bytes() == tls.authority.read_bytes()
    exports = dict(
        line.removeprefix("export ").split("=") for line in (prefix / "environment").read_text().split("\n")[:-1]
    )
    assert Path(exports["NUMBA_CACHE_DIR"]).stat().st_mode & 0o7777 == 0o1777
    python = exports["PYSPARK_PYTHON"]

    # The primary node: the step, with its own arguments, but for the master and the entry point's place.
    arguments = emr.list_steps(ClusterId=cluster)["Steps"][0]["Config"]["Args"]
    assert f"spark.pyspark.python={python}" in arguments
    assert arguments[:3] == ["spark-submit", "--master", "yarn"]
    entry = next(word for word in arguments if word.endswith("/job.py"))
    local = {"spark-submit": str(SPARK_HOME / "bin" / "spark-submit"), "yarn": "local[2]"}
    local[entry] = str(fetched(cloud, entry, tmp_path))
    plain = {name: value for name, value in os.environ.items() if name in {"HOME", "JAVA_HOME", "PATH"}}
    spark = {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(tmp_path / "spark")}
    done = subprocess.run(
        [local.get(word, word) for word in arguments],
        cwd=tmp_path,
        env=plain | spark | cloud.environment,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "2 loaded, 0 skipped, 0 refused of 2 sweep files" in done.stdout.splitlines()

    url = make_url(f"{tls.url}&sslrootcert={tls.authority}").set(drivername="postgresql+psycopg", password=PASSWORD)
    engine = create_engine(url)
    with engine.connect() as connection:
        keys = set(connection.scalars(select(Galaxy.ls_id)))
        files = connection.execute(select(SweepFile.name, SweepFile.status, SweepFile.sha256, SweepFile.uri)).all()
        runs = {run.command: run for run in connection.execute(select(Run.__table__))}
        everything = "".join(
            str(connection.execute(text(f"SELECT t::text FROM provenance.{table} t")).all())
            for table in ("run", "config", "artifact")
        )
    engine.dispose()
    expected = set()
    for path in paths:
        kept = fits.getdata(path, 1)[sweep_files.is_pool_galaxy(path)]
        brickid, objid = (np.asarray(kept[name], dtype=np.int64) for name in ("BRICKID", "OBJID"))
        expected |= set(((np.int64(10_000) << 40) + (brickid << 16) + objid).tolist())
    assert len(expected) > 100
    assert keys == expected
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    wanted = [(name, "loaded", digest, place) for name, digest, place in zip(names, digests, places, strict=True)]
    assert sorted(tuple(row) for row in files) == wanted
    # The code that the cluster ran is the code that is here.
    assert runs["sweeps load"].status == "succeeded"
    assert runs["sweeps load"].code_sha256 == runs["emr launch"].code_sha256 == code_sha256()

    said = [launched.stdout, launched.stderr, booted.stdout, booted.stderr, done.stdout, done.stderr, everything]
    assert not [words for words in [*said, json.dumps(arguments)] if PASSWORD in words]

    # What a node lacks, the code of the job does without.
    absent = ("torch", "streamlit", "matplotlib", "pyspark", "moto", "stronglens")
    asked = subprocess.run(
        [python, "-I", "-c", f"from importlib.util import find_spec; print([n for n in {absent} if find_spec(n)])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout == "[]\n"


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CHECKOUT / "etl" / "emr" / "job.py"), *arguments], capture_output=True, text=True
    )


def test_the_job_refuses_an_archive_with_other_bytes_before_it_runs_any_of_them(tmp_path: Path) -> None:
    code = code_archive()
    path = tmp_path / "code.zip"
    path.write_bytes(code.data + b"\0")
    done = job("--archive", str(path), "--sha256", code.sha256, "sweeps", "s3://x/y.fits")
    found = hashlib.sha256(code.data + b"\0").hexdigest()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {path}: has SHA-256 {found}, {code.sha256} was launched: nothing was run\n"


@pytest.fixture
def rclone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Another S3 server, with the bucket `lens-data`, which checks signatures; the environment has its keys."""
    (tmp_path / "served" / "lens-data").mkdir(parents=True)
    arguments = ["serve", "s3", str(tmp_path / "served"), "--auth-key", "key,right-secret", "--addr", "127.0.0.1:0"]
    program = str(Path(sys.executable).with_name("rclone"))
    with subprocess.Popen(
        [program, *arguments, "--config", os.devnull], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stderr is not None
        found = next(filter(None, (re.search(r"http://127\.0\.0\.1:\d+", line) for line in server.stderr)))
        threading.Thread(target=server.stderr.read, daemon=True).start()
        for name, value in (
            ("ACCESS_KEY_ID", "key"),
            ("SECRET_ACCESS_KEY", "right-secret"),
            ("ENDPOINT_URL", found[0]),
        ):
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        yield found[0]
        server.terminate()


def test_another_s3_server_keeps_the_archive_and_gives_it_to_the_job_but_to_no_stranger(
    rclone: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = load_emr_config(None, bucket="s3://lens-data/lens", subnet_id="subnet-0a")
    code = code_archive()
    folder = folder_of(config, code)
    upload(config, folder, [code])
    assert (tmp_path / "served" / f"{folder.removeprefix('s3://')}/code.zip").read_bytes() == code.data
    arguments = ("--archive", f"{folder}/code.zip", "--sha256", code.sha256, "swipes")
    assert job(*arguments).stderr.endswith("error: no job 'swipes'; there are sweeps, cutouts, validate\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    with pytest.raises(EmrError, match=r"code\.zip: AWS refuses \(") as refused:
        upload(config, folder, [code])
    stranger = job(*arguments)
    assert stranger.returncode == 1
    assert "code.zip: cannot be read (" in stranger.stderr
    assert "-secret" not in stranger.stderr + str(refused.value)


def test_the_job_says_in_one_line_what_it_cannot_read_or_do(tmp_path: Path) -> None:
    code = code_archive()
    path = tmp_path / "code.zip"
    path.write_bytes(code.data)
    for arguments, words in (
        (("--archive", str(tmp_path / "none.zip"), "--sha256", code.sha256, "sweeps"), "none.zip: cannot be read"),
        (("--archive", str(path), "--sha256", code.sha256, "swipes"), "no job 'swipes'"),
        (("--archive", str(path), "--sha256", code.sha256, "--config", '{"mag": 1}', "sweeps"), "unknown key 'mag'"),
    ):
        done = job(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_database_that_refuses_in_the_middle_of_the_job_is_one_line(
    engine: Engine, sweep_files: Any, tmp_path: Path
) -> None:
    code = code_archive()
    (tmp_path / "code.zip").write_bytes(code.data)
    file = sweep_files.write(tmp_path / "sweep-000m005-005p000.fits", sweep_files.make(5))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE catalog.sweep_task"))
    done = job("--archive", str(tmp_path / "code.zip"), "--sha256", code.sha256, "sweeps", str(file))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        'error: the database refused: relation "catalog.sweep_task" does not exist'
    )


def test_a_step_with_a_file_that_failed_or_was_refused_exits_1_and_names_both(
    engine: Engine,
    sweep_files: Any,
    shared_session: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = [f"sweep-{ra:03d}m005-{ra + 5:03d}p000.fits" for ra in (0, 5, 10)]
    paths = [
        sweep_files.write(tmp_path / name, sweep_files.make(50, seed=seed, ra=5 * seed - 2.5))
        for seed, name in enumerate(names, start=1)
    ]
    paths[1].write_bytes(paths[1].read_bytes()[:5000])

    def deadly(n_workers: int) -> Any:
        """Give the session of all tests, after the first file has killed as many workers as it may."""
        with engine.begin() as connection:
            connection.execute(update(SweepTask).where(SweepTask.name == names[0]).values(n_attempts=MAX_ATTEMPTS))
        return shared_session(n_workers)

    assert run_sweeps(SweepLoadConfig(), [str(paths[0]), str(paths[2])], deadly) == 1
    assert capsys.readouterr().out.startswith("1 loaded, 0 skipped, 0 refused, 1 failed of 2 sweep files\n")
    assert f"failed: {names[0]}: its worker died {MAX_ATTEMPTS} times" in caplog.text
    assert run_sweeps(SweepLoadConfig(), [str(tmp_path)], shared_session) == 1
    assert capsys.readouterr().out.startswith("1 loaded, 1 skipped, 1 refused of 3 sweep files\n")
    assert f"refused: {names[1]}: " in caplog.text
    paths[1].unlink()
    assert run_sweeps(SweepLoadConfig(), [str(tmp_path)], shared_session) == 0


def test_the_bootstrap_refuses_other_requirements_than_were_launched(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    done = bootstrap(BOOTSTRAP, tmp_path / "node", REQUIREMENTS, sha256[::-1])
    assert done.returncode == 1
    assert done.stderr.startswith(f"bootstrap: {REQUIREMENTS} has another SHA-256")
    assert not (tmp_path / "node" / "venv").exists()
    absent = bootstrap(BOOTSTRAP, tmp_path / "node", tmp_path / "none.lock", sha256)
    assert absent.returncode == 1
    assert absent.stderr.endswith(f"bootstrap: {tmp_path / 'none.lock'} cannot be copied\n")
