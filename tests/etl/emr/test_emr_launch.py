"""Launches: what is asked of EMR, what is refused, and what is remembered."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.engine import make_url

from db.errors import ConfigError
from db.models.provenance import Artifact, Config, Run
from db.provenance import CHECKOUT, code_sha256
from etl.emr.archive import Blob, code_archive
from etl.emr.config import EmrConfig, load_emr_config
from etl.emr.errors import EmrError
from etl.emr.launch import launch_cluster, prepare
from etl.emr.preflight import problems
from etl.emr.request import job_flow
from etl.emr.upload import upload
from tests.etl.emr.conftest import PASSWORD, REGION, Cli, Cloud, let_in
from tests.etl.emr.tls import TlsServer

RunCli = Callable[..., subprocess.CompletedProcess[str]]
FILES = ("s3://public/sweep-000m005-005p000.fits", "s3://public/sweep-005m005-010p000.fits")


def emr_config(**more: Any) -> EmrConfig:
    plain = {
        "bucket": "s3://lens-data/lens",
        "subnet_id": "subnet-0a",
        "database_url": "postgresql://loader@db.example.org/stronglens?sslmode=verify-full",
        "database_secret": "lens-db",
        "root_certificate": "s3://lens-data/ca.pem",
    }
    return load_emr_config(None, **(plain | more))


def step(request: dict[str, Any]) -> list[str]:
    arguments: list[str] = request["Steps"][0]["HadoopJarStep"]["Args"]
    return arguments


@pytest.mark.parametrize(
    ("preset", "workers", "machine", "memory"),
    [
        ("test", 2, "m5.xlarge", "4g"),
        ("small", 5, "m5.xlarge", "4g"),
        ("medium", 10, "m5.xlarge", "4g"),
        ("large", 20, "m5.xlarge", "4g"),
        ("large-xlarge", 30, "m5.2xlarge", "10g"),
    ],
)
def test_a_preset_is_so_many_workers_that_end_with_their_step(
    preset: str, workers: int, machine: str, memory: str
) -> None:
    request = job_flow(prepare(emr_config(), preset, "sweeps", FILES))
    groups = {group["InstanceRole"]: group for group in request["Instances"]["InstanceGroups"]}
    assert (groups["CORE"]["InstanceCount"], groups["CORE"]["InstanceType"]) == (workers, machine)
    assert groups["MASTER"]["InstanceCount"] == 1
    assert f"spark.executor.memory={memory}" in step(request)
    assert f"spark.executor.instances={workers}" in step(request)
    assert request["ReleaseLabel"] == "emr-7.13.0"
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    assert request["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    assert request["Steps"][0]["ActionOnFailure"] == "TERMINATE_CLUSTER"
    assert request["LogUri"] == "s3://lens-data/lens/emr/logs/"
    assert len({tag["Key"] for tag in request["Tags"]} & {"git-commit", "code-sha256"}) == 2


def test_the_step_says_region_code_configuration_and_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    prepared = prepare(emr_config(), "test", "sweeps", ["--mag-z-max", "20.5", *FILES, "--quarantine-rows=3"])
    arguments = step(job_flow(prepared))
    assert arguments[-3:] == ["sweeps", *FILES]
    config = json.loads(arguments[arguments.index("--config") + 1])
    assert (config["mag_z_max"], config["max_quarantine_rows"], config["n_workers"]) == (20.5, 3, 8)
    assert arguments[arguments.index("--sha256") + 1] == hashlib.sha256(prepared.code.data).hexdigest()
    assert "AWS_DEFAULT_REGION=us-east-2" in arguments
    url = next(word for word in arguments if word.startswith("STRONGLENS_DATABASE_URL="))
    assert "sslmode=verify-full" in url
    assert make_url(url.partition("=")[2]).query["sslrootcert"] == "/opt/stronglens/root-certificate.pem"


def test_a_job_that_works_on_the_store_tells_the_nodes_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGLENS_STORE", "s3://lens-data/store")
    words = ["--draw", "big", "--version", "v2", "s3://public/dr10/south"]
    arguments = step(job_flow(prepare(emr_config(), "small", "cutouts", words)))
    assert "STRONGLENS_STORE=s3://lens-data/store" in arguments
    assert arguments[-2:] == ["cutouts", "s3://public/dr10/south"]
    config = json.loads(arguments[arguments.index("--config") + 1])
    assert (config["draw"], config["version"], config["n_workers"]) == ("big", "v2", 20)
    sweeps = step(job_flow(prepare(emr_config(), "test", "sweeps", FILES)))
    assert not [word for word in sweeps if word.startswith("STRONGLENS_STORE")]


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ({"workers": 2, "machine": "m5.xlarge", "executor_memory_gib": 5}, "5g is over the 4g that m5.xlarge allows"),
        ({"workers": 2, "machine": "m5.2xlarge", "executor_memory_gib": 11}, "11g is over the 10g that m5.2xlarge"),
        ({"workers": 2, "machine": "m6.large", "executor_memory_gib": 1}, "unknown machine m6.large (known: m5.x"),
        ({"workers": 0, "machine": "m5.xlarge", "executor_memory_gib": 1}, "greater than or equal to 1"),
        ({"workers": 2, "machine": "m5.xlarge", "executor_memory_gib": 4, "limit": 3}, "unknown key 'presets.mine.lim"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, preset: dict[str, Any], words: str) -> None:
    path = tmp_path / "emr.yaml"
    body = {"bucket": "s3://lens-data", "subnet_id": "subnet-0a"}
    path.write_text(yaml.safe_dump(body | {"presets": {"mine": {"executor_overhead_gib": 2} | preset}}))
    with pytest.raises(ConfigError) as caught:
        load_emr_config(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_preset_of_ones_own_stands_beside_those_that_are_shipped() -> None:
    mine = {"workers": 3, "machine": "m5.xlarge", "executor_memory_gib": 3, "executor_overhead_gib": 2}
    config = emr_config(presets={"mine": mine})
    assert list(config.presets) == ["test", "small", "medium", "large", "large-xlarge", "mine"]
    assert config.n_vcpus(config.preset("mine")) == 16


@pytest.mark.parametrize(
    ("preset", "job", "words", "message"),
    [
        ("small", "cutouts", ("s3://public/dr10/south",), "set STRONGLENS_STORE to s3://bucket/prefix"),
        ("small", "cutouts", ("--layer=x", "s3://public/dr10/south"), "--layer: no option of this job; it has --draw"),
        ("small", "validate", (), "no place is given"),
        ("test", "swipes", FILES, "no job 'swipes'; there are sweeps, cutouts, validate"),
        ("huge", "sweeps", FILES, "no preset 'huge'; there are test, small"),
        ("test", "sweeps", FILES[:1], "preset test takes exactly 2 files, each by its name"),
        ("test", "sweeps", ("s3://public/a*.fits", FILES[0]), "each by its name"),
        ("test", "sweeps", ("s3://public/folder", FILES[0]), "each by its name"),
        ("small", "sweeps", ("/data/sweeps",), "/data/sweeps: a cluster reads s3:// only"),
        ("small", "sweeps", (), "no place is given"),
        ("small", "sweeps", (*FILES, "--limit", "5"), "--limit: no option of this job; it has --mag-z-max"),
        ("small", "sweeps", (*FILES, "--mag-z-max"), "--mag-z-max: needs a value"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_asked(
    preset: str, job: str, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(EmrError) as caught:
        prepare(emr_config(), preset, job, words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"database_url": "postgresql:///stronglens?sslmode=verify-full"}, "needs a database with a TCP host"),
        ({"database_url": "postgresql:///x?host=/run/pg&sslmode=verify-full"}, "needs a database with a TCP host"),
        ({"database_url": "postgresql://u@h/x"}, "sslmode is not set: add ?sslmode=verify-full"),
        ({"database_url": "postgresql://u@h/x?sslmode=require"}, "sslmode is require"),
        ({"database_url": f"postgresql://u:{PASSWORD}@h/x?sslmode=verify-full"}, "holds a password"),
        ({"database_url": f"postgresql://u@h/x?sslmode=verify-full&password={PASSWORD}"}, "holds a password"),
        ({"database_url": f"postgresql://u@h/x?sslmode=verify-full&sslpassword={PASSWORD}"}, "holds a password"),
        ({"database_url": f"postgresql://u:{PASSWORD}@h:x/y"}, "is not a URL"),
        ({"root_certificate": None}, "nothing says which certificate"),
        ({"database_secret": None}, "nothing says where the cluster finds the database's password"),
        ({"database_url": None}, "cannot reach the embedded database: set STRONGLENS_DATABASE_URL"),
    ],
)
def test_a_database_that_is_not_safe_to_reach_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(EmrError) as caught:
        prepare(emr_config(**more), "test", "sweeps", FILES)
    assert message in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_opens_a_clients_key_does_not_go_to_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql://u:own@h/x?sslmode=verify-full&sslkey=/k&sslpassword={PASSWORD}"
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url)
    with pytest.raises(EmrError, match="holds sslpassword") as caught:
        prepare(emr_config(database_url=None), "test", "sweeps", FILES)
    assert PASSWORD not in str(caught.value)


def test_the_archive_is_the_same_bytes_each_time_and_holds_the_code_that_runs_record() -> None:
    archive = code_archive()
    assert archive.data == code_archive().data
    with zipfile.ZipFile(io.BytesIO(archive.data)) as packed:
        names = packed.namelist()
        digest = hashlib.sha256()
        for name in sorted(map(Path, names)):
            if name.suffix in {".py", ".sql", ".yaml"}:
                digest.update(str(name).encode() + b"\0" + packed.read(str(name)))
    assert digest.hexdigest() == code_sha256.__wrapped__()  # not what it was when the tests began
    assert {"etl/sweeps/load_file.py", "etl/emr/job.py", "db/statements/__init__.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", ".git"))]


def test_the_nodes_packages_are_a_part_of_the_locked_ones_without_torch_spark_and_streamlit() -> None:
    def pins(name: str) -> set[str]:
        lines = (CHECKOUT / name).read_text().splitlines()
        return {line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()}

    etl = pins("requirements-etl.lock")
    assert etl <= pins("requirements.lock")
    names = {pin.partition("==")[0].lower() for pin in etl}
    assert not names & {"torch", "torchvision", "pyspark", "py4j", "streamlit", "matplotlib", "moto", "pytest"}


def test_a_dry_run_prints_the_whole_request_and_touches_nothing(cloud: Any, run_cli: RunCli, tmp_path: Path) -> None:
    config = cloud.config(tmp_path)
    nowhere = dict.fromkeys(("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EMR"), "http://127.0.0.1:9")
    nowhere["STRONGLENS_DATABASE_URL"] = ""
    arguments = ("emr", "launch", "--preset", "small", "--config", str(config), "--dry-run", "sweeps", *FILES)
    done = run_cli(*arguments, **nowhere)
    assert done.returncode == 0, done.stderr
    expected = job_flow(prepare(load_emr_config(config), "small", "sweeps", FILES))
    assert json.loads(done.stdout) == expected
    assert "Contents" not in cloud.client("s3").list_objects_v2(Bucket=cloud.bucket)
    assert not (tmp_path / "home").exists()
    assert PASSWORD not in done.stdout + done.stderr


def test_a_launch_uploads_checks_records_and_asks_and_shows_no_password(
    cloud: Cloud, tls: TlsServer, run_cli: RunCli, tmp_path: Path
) -> None:
    # A launcher may well have the password in its own environment.
    local = make_url(f"{tls.url}&sslrootcert={tls.authority}").set(drivername="postgresql+psycopg", password=PASSWORD)
    let_in(cloud.client("ec2"), cloud.database_group, cloud.own_group, tls.port)
    config = cloud.config(tmp_path, database_url=tls.url)
    done = run_cli(
        *("-vv", "emr", "launch", "--preset", "test", "--config", str(config), "sweeps", *FILES),
        STRONGLENS_DATABASE_URL=local.render_as_string(hide_password=False),
    )
    assert done.returncode == 0, done.stderr
    cluster_id = done.stdout.partition(":")[0]
    emr, store = cloud.client("emr"), cloud.client("s3")
    cluster = emr.describe_cluster(ClusterId=cluster_id)["Cluster"]
    assert (cluster["Name"], cluster["ReleaseLabel"]) == ("stronglens-sweeps-test", "emr-7.13.0")
    arguments = emr.list_steps(ClusterId=cluster_id)["Steps"][0]["Config"]["Args"]
    uri = arguments[arguments.index("--archive") + 1]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    uploaded = store.get_object(Bucket=bucket, Key=key)["Body"].read()
    sha256 = hashlib.sha256(uploaded).hexdigest()
    assert sha256 == arguments[arguments.index("--sha256") + 1]
    engine = create_engine(local)
    with engine.connect() as connection:
        code = connection.execute(select(Artifact.__table__)).one()
        ran = connection.execute(select(Run.__table__).where(Run.run_id == code.run_id)).one()
        everything = "".join(
            str(connection.execute(text(f"SELECT t::text FROM provenance.{table} t")).all())
            for table in ("run", "config", "artifact")
        )
    engine.dispose()
    assert (code.kind, code.uri, code.sha256) == ("emr_code", uri, sha256)
    assert (code.n_bytes, ran.command, ran.status) == (len(uploaded), "emr launch", "succeeded")
    objects = [store.get_object(Bucket=bucket, Key=item["Key"])["Body"].read().decode("latin-1")
               for item in store.list_objects_v2(Bucket=bucket)["Contents"]]  # fmt: skip
    assert len(objects) == 4
    produced = [everything, done.stdout, done.stderr, json.dumps([cluster, arguments], default=str), *objects]
    assert not [place for place in produced if PASSWORD in place]


def test_every_launch_of_the_same_code_names_the_archive_and_the_first_owns_the_artifact(
    cloud: Cloud, engine: Engine, tmp_path: Path
) -> None:
    config = load_emr_config(cloud.config(tmp_path))
    for preset in ("test", "small"):
        launch_cluster(engine, prepare(config, preset, "sweeps", FILES))
    with engine.connect() as connection:
        code = connection.execute(select(Artifact.__table__)).one()
        statement = select(Run.run_id, Config.body).join(Config, Config.config_sha256 == Run.config_sha256)
        launches = connection.execute(statement.order_by(Run.run_id)).all()
    assert code.run_id == launches[0].run_id
    assert [body["archive"] for _, body in launches] == [{"uri": code.uri, "sha256": code.sha256}] * 2
    assert [body["request"]["Name"] for _, body in launches] == ["stronglens-sweeps-test", "stronglens-sweeps-small"]


@pytest.mark.parametrize(
    ("here", "found"),
    [
        ("", "is not set"),
        ("postgresql://loader@db.example.org:5433/stronglens", "names postgresql+psycopg://loader@db.example.org:5433"),
        ("postgresql://loader@db.example.org/other", "names postgresql+psycopg://loader@db.example.org/other"),
        (
            f"postgresql:///stronglens?host=/run/pg&password={PASSWORD}",
            "names postgresql+psycopg:///stronglens at /run",
        ),
    ],
)
def test_a_launch_that_would_be_recorded_elsewhere_than_the_cluster_writes_is_refused(
    cloud: Cloud, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, here: str, found: str
) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", here)
    done = cli("emr", "launch", "--preset", "test", "--config", str(cloud.config(tmp_path)), "sweeps", *FILES)
    assert done.returncode == 1
    assert done.stderr.startswith(f"preflight: STRONGLENS_DATABASE_URL of this machine {found}")
    assert "the cluster writes to postgresql+psycopg://loader@db.example.org:5432/stronglens: set it to" in done.stderr
    assert done.stderr.count("\n") == 1
    assert PASSWORD not in done.stderr
    assert not (tmp_path / "home").exists()  # no embedded server was started
    assert cloud.client("emr").list_clusters()["Clusters"] == []


def test_another_user_of_the_clusters_database_may_launch(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", "postgresql://admin@/stronglens?host=DB.example.org&port=5432")
    assert problems(prepare(load_emr_config(cloud.config(tmp_path)), "test", "sweeps", FILES)) == []


def test_a_database_that_does_not_answer_stops_a_launch_before_anything_is_uploaded(
    cloud: Cloud, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = "postgresql://loader@localhost:1/stronglens?sslmode=verify-full"
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", url)
    monkeypatch.setenv("STRONGLENS_DATABASE_SECRET", "lens-db")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    let_in(cloud.client("ec2"), cloud.database_group, cloud.own_group, 1)
    config = cloud.config(tmp_path, database_url=url)
    done = cli("emr", "launch", "--preset", "test", "--config", str(config), "sweeps", *FILES)
    assert done.returncode == 1
    assert "error: cannot use postgresql+psycopg://loader:***@localhost:1/stronglens: " in done.stderr
    assert "Contents" not in cloud.client("s3").list_objects_v2(Bucket=cloud.bucket)


def test_a_store_that_gives_other_bytes_back_stops_the_launch(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = Blob("code.zip", b"what was sent")
    config = emr_config(subnet_id=cloud.subnet)
    upload(config, "s3://lens-data/there", [blob])
    store = boto3.client("s3", region_name="us-east-2")
    assert store.get_object(Bucket="lens-data", Key="there/code.zip")["Body"].read() == blob.data

    def spoil(params: dict[str, Any], **_: Any) -> None:
        params["Body"] = b"what was kept"

    class Spoiled(boto3.Session):
        def client(self, *arguments: Any, **options: Any) -> Any:
            made = super().client(*arguments, **options)
            made.meta.events.register("provide-client-params.s3.PutObject", spoil)
            return made

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", Spoiled())
    with pytest.raises(EmrError, match=r"there/code\.zip: holds other bytes than were sent"):
        upload(config, "s3://lens-data/there", [blob])


def test_all_is_well_when_network_secret_and_quota_are(cloud: Any, tmp_path: Path) -> None:
    assert problems(prepare(load_emr_config(cloud.config(tmp_path)), "large", "sweeps", FILES)) == []


def test_every_failure_of_the_preflight_is_a_line_with_its_fix(cloud: Any, cli: Any, tmp_path: Path) -> None:
    boto3.client("s3", region_name="us-west-2").create_bucket(
        Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    closed = cloud.client("ec2").create_security_group(
        GroupName="closed", Description="x",
        VpcId=cloud.client("ec2").describe_subnets(SubnetIds=[cloud.subnet])["Subnets"][0]["VpcId"],
    )["GroupId"]  # fmt: skip
    cloud.stub.quota = 8.0
    config = cloud.config(
        tmp_path,
        bucket="s3://elsewhere/lens",
        database_security_group_id=closed,
        database_secret="absent",
        root_certificate="s3://lens-data/absent.pem",
    )
    done = cli("emr", "launch", "--preset", "small", "--config", str(config), "sweeps", *FILES)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    words = [
        "bucket elsewhere: is in us-west-2, the cluster in us-east-2; take a bucket in us-east-2",
        f"security group {closed}: does not let the cluster reach port 5432; run `aws ec2 authorize-security-group-",
        "vCPU quota L-1216C47A: preset small needs 24, 0 of 8 are in use; take a smaller preset, or run `aws",
        "secret absent: AWS refuses (ResourceNotFoundException",
        "s3://lens-data/absent.pem: AWS refuses (404",
    ]
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert line.startswith(f"preflight: {word}"), line
    assert cloud.client("emr").list_clusters()["Clusters"] == []


def test_a_subnet_of_another_region_and_a_bucket_that_is_not_there_are_named(cloud: Any, tmp_path: Path) -> None:
    other = boto3.client("ec2", region_name="us-west-2")
    subnet = other.create_subnet(
        VpcId=other.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"], CidrBlock="10.9.1.0/24"
    )["Subnet"]["SubnetId"]
    config = cloud.config(tmp_path, bucket="s3://nobody-has-it", subnet_id=subnet, security_group_id=None,
                          database_security_group_id="elsewhere")  # fmt: skip
    found = problems(prepare(load_emr_config(config), "test", "sweeps", FILES))
    assert len(found) == 2
    assert "bucket nobody-has-it: AWS refuses (NoSuchBucket" in found[0]
    assert f"subnet {subnet}: AWS refuses (InvalidSubnetID.NotFound" in found[1]
    assert "take a subnet of us-east-2" in found[1]


def test_an_address_range_that_holds_the_subnet_lets_the_cluster_in_and_another_port_does_not(
    cloud: Any, tmp_path: Path
) -> None:
    ec2 = cloud.client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=[cloud.subnet])["Subnets"][0]["VpcId"]
    for name, port, cidr, n_problems in (
        ("wide", 5432, "10.0.0.0/16", 0),
        ("narrow", 5432, "10.0.2.0/24", 1),
        ("port", 5433, "10.0.0.0/16", 1),
    ):
        group = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        config = load_emr_config(cloud.config(tmp_path, database_security_group_id=group))
        assert len(problems(prepare(config, "test", "sweeps", FILES))) == n_problems, name


def test_a_database_whose_group_is_not_named_is_refused_unless_it_is_said_to_be_elsewhere(
    cloud: Cloud, tmp_path: Path
) -> None:
    silent = load_emr_config(cloud.config(tmp_path, database_security_group_id=None))
    (line,) = problems(prepare(silent, "test", "sweeps", FILES))
    assert line.startswith("database_security_group_id: is not set, so nothing tells whether the cluster reaches")
    assert "set it to the database's security group, or to `elsewhere`" in line
    said = load_emr_config(cloud.config(tmp_path, database_security_group_id="elsewhere"))
    assert problems(prepare(said, "test", "sweeps", FILES)) == []


def test_a_rule_with_a_prefix_list_is_no_refusal_but_a_warning_that_nobody_looked(
    cloud: Cloud, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ec2 = cloud.client("ec2")
    vpc = ec2.describe_subnets(SubnetIds=[cloud.subnet])["Subnets"][0]["VpcId"]
    listed = ec2.create_managed_prefix_list(PrefixListName="ours", MaxEntries=1, AddressFamily="IPv4")
    name = listed["PrefixList"]["PrefixListId"]
    for port, n_problems in ((5432, 0), (5433, 1)):
        group = ec2.create_security_group(GroupName=f"list-{port}", Description="x", VpcId=vpc)["GroupId"]
        rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "PrefixListIds": [{"PrefixListId": name}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
        config = load_emr_config(cloud.config(tmp_path, database_security_group_id=group))
        caplog.clear()
        assert len(problems(prepare(config, "test", "sweeps", FILES))) == n_problems
        warning = f"security group {group}: lets {name} reach port 5432, which this does not look into: make sure that "
        assert (warning + "10.0.1.0/24 is in it" in caplog.text) == (n_problems == 0)


def test_vcpus_that_are_in_use_count_against_the_quota(cloud: Any, tmp_path: Path) -> None:
    ec2 = cloud.client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    for machine, count in (("m5.xlarge", 1), ("im4gn.xlarge", 1), ("inf1.xlarge", 3), ("trn1.2xlarge", 2),
                           ("mac1.metal", 1), ("dl1.24xlarge", 1), ("hpc6a.48xlarge", 1)):  # fmt: skip
        ec2.run_instances(ImageId=image, InstanceType=machine, MinCount=count, MaxCount=count, SubnetId=cloud.subnet)
    prepared = prepare(load_emr_config(cloud.config(tmp_path)), "test", "sweeps", FILES)
    cloud.stub.quota = 20.0
    assert problems(prepared) == []
    cloud.stub.quota = 19.0
    assert "preset test needs 12, 8 of 19 are in use" in problems(prepared)[0]


def test_without_credentials_the_only_line_says_how_to_get_some(
    cloud: Any, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    config = cloud.config(tmp_path)
    done = cli("emr", "launch", "--preset", "test", "--config", str(config), "sweeps", *FILES)
    assert done.returncode == 1
    assert done.stderr.startswith("preflight: credentials: Unable to locate credentials; run `aws configure`")
    assert done.stderr.count("\n") == 1
