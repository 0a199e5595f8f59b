"""Clusters after their launch: status, wait, logs, terminate, list."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from etl.emr.cluster import cluster_state, wait_for_end
from etl.emr.config import load_emr_config
from etl.emr.errors import EmrError
from etl.emr.launch import prepare
from etl.emr.logs import step_log
from etl.emr.request import job_flow
from tests.etl.emr.conftest import REGION, Cli, Cloud, Moment

FILES = ("s3://public/sweep-000m005-005p000.fits", "s3://public/sweep-005m005-010p000.fits")
STARTING = Moment("STARTING", "PENDING")
RUNNING = Moment("RUNNING", "RUNNING")


@pytest.fixture
def cluster(cloud: Cloud, tmp_path: Path) -> str:
    """Id of a cluster that was asked for."""
    prepared = prepare(load_emr_config(cloud.config(tmp_path)), "test", "sweeps", FILES)
    made: str = cloud.client("emr").run_job_flow(**job_flow(prepared))["JobFlowId"]
    return made


def put_log(cloud: Cloud, cluster: str, stream: str, text: str | bytes) -> str:
    step: str = cloud.client("emr").list_steps(ClusterId=cluster)["Steps"][0]["Id"]
    data = text if isinstance(text, bytes) else gzip.compress(text.encode())
    key = f"lens/emr/logs/{cluster}/steps/{step}/{stream}.gz"
    cloud.client("s3").put_object(Bucket=cloud.bucket, Key=key, Body=data)
    return step


def test_wait_follows_every_change_and_ends_well_when_the_step_completes(cloud: Cloud, cluster: str, cli: Cli) -> None:
    cloud.stub.moments = [STARTING, STARTING, RUNNING, RUNNING, Moment("TERMINATING", "COMPLETED")]
    done = cli("emr", "wait", cluster, "--every", "0.05")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(cluster)]
    assert lines == [
        f"{cluster}: STARTING, sweeps PENDING",
        f"{cluster}: RUNNING, sweeps RUNNING",
        f"{cluster}: TERMINATING, sweeps COMPLETED",
    ]
    assert cloud.stub.n_asked == 5
    assert done.stdout.startswith(f"{cluster}  stronglens-sweeps-test  TERMINATING")


def test_wait_for_a_failed_step_exits_1_with_the_reason_and_the_logs_last_lines(
    cloud: Cloud, cluster: str, cli: Cli
) -> None:
    cloud.stub.moments = [RUNNING, Moment("TERMINATING", "FAILED", "exit status 1")]
    put_log(cloud, cluster, "stdout", "".join(f"line {number}\n" for number in range(30)) + "error: two are refused\n")
    done = cli("emr", "wait", cluster, "--every", "0.05")
    assert done.returncode == 1
    assert "sweeps  FAILED: exit status 1" in done.stdout
    assert done.stderr.endswith("  line 28\n  line 29\n  error: two are refused\n")
    assert "line 20\n" not in done.stderr


def test_wait_survives_requests_that_are_throttled_or_broken_off_and_says_so(
    cloud: Cloud,
    cluster: str,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # botocore's own retries would hide what is tested
    cloud.stub.moments = [RUNNING, Moment("TERMINATING", "COMPLETED")]
    cloud.stub.failures = [(400, "ThrottlingException"), (0, ""), (500, "InternalServerError")]
    done = cli("emr", "wait", cluster, "--every", "0.05")
    assert done.returncode == 0, done.stderr
    assert cloud.stub.failures == []
    assert caplog.text.count("asking again in") == 3
    assert f"cluster {cluster}: AWS refuses (ThrottlingException: not now)" in caplog.text


def test_wait_does_not_repeat_a_question_that_is_refused_for_good(
    cloud: Cloud, cluster: str, caplog: pytest.LogCaptureFixture
) -> None:
    cloud.stub.failures = [(400, "AccessDeniedException")]
    with pytest.raises(EmrError, match="AccessDeniedException"):
        wait_for_end(cluster, REGION, 0.01)
    assert caplog.text == ""


@pytest.mark.parametrize("command", ["status", "wait", "logs", "terminate", "list"])
def test_a_profile_or_region_that_does_not_exist_is_one_line(
    cloud: Cloud, cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    arguments = ("emr", command, *(() if command == "list" else ("j-ANY",)))
    region = cli(*arguments, "--region", "us east")
    assert region.stderr.startswith("error: AWS emr in us east: ")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    profile = cli(*arguments)
    assert "The config profile (nobody) could not be found; check the region and AWS_PROFILE" in profile.stderr
    for done in (region, profile):
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in done.stderr


def test_wait_ends_for_a_cluster_that_never_got_to_its_step(cloud: Cloud, cluster: str) -> None:
    cloud.stub.moments = [STARTING, Moment("TERMINATED_WITH_ERRORS", "CANCELLED")]
    seen: list[str] = []
    end = wait_for_end(cluster, REGION, 0.01, lambda state: seen.append(state.state))
    assert seen == ["STARTING", "TERMINATED_WITH_ERRORS"]
    assert not end.is_success


def test_status_of_a_new_cluster_and_after_its_termination(cloud: Cloud, cluster: str, cli: Cli) -> None:
    done = cli("emr", "status", cluster)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{cluster}  stronglens-sweeps-test  WAITING\n  s-")
    assert cli("emr", "terminate", cluster).stdout == f"{cluster}: asked to terminate\n"
    assert cluster_state(cluster, REGION).state == "TERMINATED"


def test_list_names_our_clusters_of_the_region_and_no_others(cloud: Cloud, cluster: str, cli: Cli) -> None:
    cloud.client("emr").run_job_flow(
        Name="somebody-elses", Instances={"InstanceCount": 1, "MasterInstanceType": "m5.xlarge"}
    )
    listed = cli("emr", "list").stdout
    assert listed.count("\n") == 1
    assert listed.startswith(f"{cluster}  ")
    assert listed.endswith("  stronglens-sweeps-test\n")
    elsewhere = cli("emr", "list", "--region", "eu-central-1", "--days", "2")
    assert elsewhere.stdout == "no cluster of the last 2 days in eu-central-1\n"


def test_logs_are_unpacked_by_stream_and_step(cloud: Cloud, cluster: str, cli: Cli) -> None:
    step = put_log(cloud, cluster, "stderr", "first\nsecond\n")
    put_log(cloud, cluster, "stdout", "2 loaded\n")
    assert cli("emr", "logs", cluster).stdout == "2 loaded\n"
    assert cli("emr", "logs", cluster, "--step", step, "--stream", "stderr").stdout == "first\nsecond\n"
    for arguments, words in (
        (("--stream", "controller"), "controller.gz: AWS refuses (NoSuchKey"),
        (("--stream", "wrong"), "--stream wrong: expected stdout, stderr, controller"),
        (("--step", "s-0"), f"cluster {cluster} has no step s-0; it has: {step}"),
    ):
        done = cli("emr", "logs", cluster, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_log_that_was_cut_off_is_said_to_be_one(cloud: Cloud, cluster: str) -> None:
    step = put_log(cloud, cluster, "stderr", gzip.compress(b"x" * 1000)[:-12])
    with pytest.raises(EmrError, match=r"stderr\.gz: is not a whole gzip file"):
        step_log(cluster_state(cluster, REGION), step, "stderr", REGION)


def test_a_cluster_that_is_not_there_is_one_line(cloud: Cloud, cli: Cli) -> None:
    for command in ("status", "wait", "logs", "terminate"):
        done = cli("emr", command, "j-NOTHERE")
        assert done.returncode == 1
        assert done.stderr.startswith("error: cluster j-NOTHERE: AWS refuses (")
        assert "`stronglens emr list`" in done.stderr
        assert done.stderr.count("\n") == 1
