"""A cloud on this machine: moto's S3, EC2, EMR and Secrets Manager, and before it a stub of what moto leaves out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml
from moto.server import ThreadedMotoServer

import stronglens
from tests.etl.emr.tls import TlsServer, tls_server

Cli = Callable[..., subprocess.CompletedProcess[str]]
REGION = "us-east-2"
PASSWORD = "correct-horse-battery-61f0"
DATABASE = "postgresql://loader@db.example.org:5432/stronglens?sslmode=verify-full"


@dataclass(frozen=True)
class Moment:
    """What EMR says from some question on: states of the cluster and of its step."""

    cluster: str
    step: str
    reason: str = ""


@dataclass
class Stub:
    """Answers for moto: the vCPU quota, and states of EMR that go on by one moment with each question."""

    quota: float = 256.0
    moments: list[Moment] = field(default_factory=list)
    n_asked: int = 0
    failures: list[tuple[int, str]] = field(default_factory=list)
    """Status and code of what EMR answers first; status 0 breaks the connection off."""

    def quota_answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        assert asked == {"ServiceCode": "ec2", "QuotaCode": "L-1216C47A"}
        return {"Quota": {**asked, "Value": self.quota}}

    def emr_answer(self, target: str, answer: dict[str, Any]) -> dict[str, Any]:
        if not self.moments:
            return answer
        if target == "DescribeCluster":
            self.n_asked += 1
        now = self.moments[min(self.n_asked, len(self.moments)) - 1]
        if target == "DescribeCluster":
            answer["Cluster"]["Status"]["State"] = now.cluster
        elif target == "ListSteps":
            for step in answer["Steps"]:
                step["Status"]["State"] = now.step
                if now.reason:
                    step["Status"]["FailureDetails"] = {"Reason": "Unknown Error.", "Message": now.reason}
        return answer


@dataclass(frozen=True)
class Cloud:
    """Where the emulated services are, and a network in them."""

    stub: Stub
    environment: dict[str, str]
    """Of AWS alone, as nodes have it too."""
    bucket: str
    subnet: str
    own_group: str
    database_group: str

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name=REGION)

    def config(self, folder: Path, **more: object) -> Path:
        """Write the configuration of a launch; None takes a key away."""
        body = {
            "bucket": f"s3://{self.bucket}/lens",
            "subnet_id": self.subnet,
            "security_group_id": self.own_group,
            "database_security_group_id": self.database_group,
            "database_url": DATABASE,
            "database_secret": "lens-db",
            "root_certificate": "system",
        } | more
        path = folder / "emr.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in body.items() if value is not None}))
        return path


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def stub_server(moto_url: str) -> Iterator[tuple[Stub, str]]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target = self.headers["X-Amz-Target"].partition(".")[2]
            if stub.failures and target != "GetServiceQuota":
                status, code = stub.failures.pop(0)
                if status == 0:
                    self.close_connection = True
                    return
                answer = {"__type": code, "message": "not now"}
            elif target == "GetServiceQuota":
                answer = stub.quota_answer(json.loads(body))
                status = 200
            else:
                # moto tells EMR's region by the host's name, which is this machine's here.
                region = self.headers["Authorization"].partition("Credential=")[2].split("/")[2]
                headers = dict(self.headers.items()) | {"Host": f"elasticmapreduce.{region}.amazonaws.com"}
                reply = requests.post(moto_url, body, headers=headers, timeout=30)
                status, answer = reply.status_code, json.loads(reply.content or b"{}")
                if status == 200:
                    answer = stub.emr_answer(target, answer)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield stub, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def cloud(moto_url: str, stub_server: tuple[Stub, str], monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A bucket, a network whose database lets the cluster in, a secret, and the environment that leads there."""
    stub, stub_url = stub_server
    for name in [name for name in os.environ if re.match("AWS_|STRONGLENS_DATABASE", name)]:
        monkeypatch.delenv(name)
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ENDPOINT_URL_EMR": stub_url,
        "AWS_ENDPOINT_URL_SERVICE_QUOTAS": stub_url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", f"{DATABASE}&sslrootcert=/etc/ssl/lens-ca.pem")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers what another test gave it
    requests.post(f"{moto_url}/moto-api/reset", timeout=30).raise_for_status()
    ec2, bucket = boto3.client("ec2", region_name=REGION), "lens-data"
    boto3.client("s3", region_name=REGION).create_bucket(
        Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    own, database = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("own", "db")
    )
    let_in(ec2, database, own)
    boto3.client("secretsmanager", region_name=REGION).create_secret(
        Name="lens-db", SecretString=json.dumps({"username": "loader", "password": PASSWORD})
    )
    return Cloud(stub, environment, bucket, subnet, own, database)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[TlsServer]:
    """A server as clusters reach it, which asks for the password."""
    with tls_server(tmp_path / "tls", PASSWORD) as server:
        yield server


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run `stronglens` in this process: a cluster's commands are asked often, and importing boto3 takes a second."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["stronglens", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            stronglens.main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), said.out, said.err)

    return run


def let_in(ec2: Any, database: str, own: str, port: int = 5432) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "UserIdGroupPairs": [{"GroupId": own}]}
    ec2.authorize_security_group_ingress(GroupId=database, IpPermissions=[rule])
