"""What would make a launch fail after minutes, asked beforehand: every failure is one line with its fix."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import make_url

from db.engine import VARIABLE
from etl.emr.aws import bucket_and_key, client, one_line
from etl.emr.database import refuse_other_database
from etl.emr.errors import EmrError
from etl.emr.request import Launch

VCPU_QUOTA = "L-1216C47A"
"""Running On-Demand Standard instances (A, C, D, H, I, M, R, T, Z), counted in virtual CPUs."""

_STANDARD = frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"})
_FAMILY = re.compile(r"([a-z]+)\d")
_log = logging.getLogger(__name__)


def problems(launch: Launch) -> list[str]:
    """Check database and credentials, then everything else; return what is wrong, all of it.

    What cannot be told is a warning of the log.
    """
    unanswered = _refusals(_credentials, launch)
    found = _refusals(_database, launch) + unanswered
    if not unanswered:  # without credentials nothing else can be asked
        for check in (_bucket, _subnet, _security_groups, _quota, _secret, _certificate):
            found += _refusals(check, launch)
    return found


def _refusals(check: Callable[[Launch], None], launch: Launch) -> list[str]:
    try:
        check(launch)
    except EmrError as exc:
        return [str(exc)]
    return []


def _database(launch: Launch) -> None:
    refuse_other_database(launch.environment)


def _credentials(launch: Launch) -> None:
    with one_line("credentials", "run `aws configure` or `aws sso login`, or set AWS_PROFILE"):
        client("sts", launch.config.region).get_caller_identity()


def _bucket(launch: Launch) -> None:
    bucket, _ = bucket_and_key(launch.config.bucket)
    region = launch.config.region
    with one_line(f"bucket {bucket}", f"make it in {region}, or correct `bucket`"):
        # A bucket in Amazon's first region has no constraint.
        found = client("s3", region).get_bucket_location(Bucket=bucket).get("LocationConstraint") or "us-east-1"
    if found != region:
        raise EmrError(f"bucket {bucket}: is in {found}, the cluster in {region}; take a bucket in {region}")


def _subnet_of(launch: Launch) -> dict[str, Any]:
    name, region = launch.config.subnet_id, launch.config.region
    with one_line(f"subnet {name}", f"take a subnet of {region}, or correct `subnet_id`"):
        subnet: dict[str, Any] = client("ec2", region).describe_subnets(SubnetIds=[name])["Subnets"][0]
    return subnet


def _subnet(launch: Launch) -> None:
    subnet = _subnet_of(launch)
    needed, n_free = launch.preset.workers + 1, subnet["AvailableIpAddressCount"]
    if n_free < needed:
        raise EmrError(
            f"subnet {subnet['SubnetId']}: has {n_free} free addresses, {needed} are needed; "
            "take a larger subnet or a smaller preset"
        )


def _security_groups(launch: Launch) -> None:
    """Check that both groups exist and the database's lets the cluster in."""
    config = launch.config
    of_database = config.database_security_group_id
    if of_database is None:
        raise EmrError(
            "database_security_group_id: is not set, so nothing tells whether the cluster reaches the database; set it "
            "to the database's security group, or to `elsewhere` where no group of this account guards it"
        )
    names = [name for name in (config.security_group_id, of_database) if name and name != "elsewhere"]
    if not names:
        return
    subnet = _subnet_of(launch)
    with one_line(f"security group {' or '.join(names)}", "correct `security_group_id`, `database_security_group_id`"):
        found = client("ec2", config.region).describe_security_groups(GroupIds=names)["SecurityGroups"]
    groups = {group["GroupId"]: group for group in found}
    own = groups.get(config.security_group_id or "")
    if own is not None and own["VpcId"] != subnet["VpcId"]:
        raise EmrError(
            f"security group {own['GroupId']}: belongs to {own['VpcId']}, the subnet to {subnet['VpcId']}; "
            "take a group of the subnet's VPC"
        )
    if of_database in groups:
        _database_lets_in(launch, groups[of_database], subnet["CidrBlock"])


def _database_lets_in(launch: Launch, group: dict[str, Any], subnet_cidr: str) -> None:
    own, name, region = launch.config.security_group_id, group["GroupId"], launch.config.region
    port = make_url(launch.environment[VARIABLE]).port or 5432
    rules = [rule for rule in group["IpPermissions"] if _is_for_port(rule, port)]
    if any(_lets_in(rule, own, subnet_cidr) for rule in rules):
        return
    lists = [one["PrefixListId"] for rule in rules for one in rule.get("PrefixListIds", [])]
    if lists:
        _log.warning(
            "security group %s: lets %s reach port %d, which this does not look into: make sure that %s is in it",
            name, ", ".join(lists), port, subnet_cidr,
        )  # fmt: skip
        return
    source = f"--source-group {own}" if own is not None else f"--cidr {subnet_cidr}"
    raise EmrError(
        f"security group {name}: does not let the cluster reach port {port}; run "
        f"`aws ec2 authorize-security-group-ingress --region {region} --protocol tcp --port {port} "
        f"--group-id {name} {source}`"
    )


def _is_for_port(rule: dict[str, Any], port: int) -> bool:
    is_all = rule["IpProtocol"] == "-1"
    return is_all or (rule["IpProtocol"] == "tcp" and bool(rule["FromPort"] <= port <= rule["ToPort"]))


def _lets_in(rule: dict[str, Any], group: str | None, subnet_cidr: str) -> bool:
    if group is not None and any(pair["GroupId"] == group for pair in rule.get("UserIdGroupPairs", [])):
        return True
    subnet = ipaddress.IPv4Network(subnet_cidr)
    return any(subnet.subnet_of(ipaddress.IPv4Network(block["CidrIp"])) for block in rule.get("IpRanges", []))


def _quota(launch: Launch) -> None:
    region, needed = launch.config.region, launch.config.n_vcpus(launch.preset)
    with one_line(f"vCPU quota {VCPU_QUOTA}", "allow servicequotas:GetServiceQuota to these credentials"):
        answer = client("service-quotas", region).get_service_quota(ServiceCode="ec2", QuotaCode=VCPU_QUOTA)
    with one_line("running instances", "allow ec2:DescribeInstances and ec2:DescribeInstanceTypes"):
        n_running = _running_vcpus(client("ec2", region))
    quota = int(answer["Quota"]["Value"])
    if n_running + needed > quota:
        raise EmrError(
            f"vCPU quota {VCPU_QUOTA}: preset {launch.preset_name} needs {needed}, {n_running} of {quota} are in use; "
            f"take a smaller preset, or run `aws service-quotas request-service-quota-increase --region {region} "
            f"--service-code ec2 --quota-code {VCPU_QUOTA} --desired-value {n_running + needed}`"
        )


def _running_vcpus(ec2: Any) -> int:
    states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=states)
    instances = [one for page in pages for group in page["Reservations"] for one in group["Instances"]]
    on_demand = (one["InstanceType"] for one in instances if one.get("InstanceLifecycle") != "spot")
    counts = Counter(name for name in on_demand if _is_standard(name))
    if not counts:
        return 0
    about = ec2.describe_instance_types(InstanceTypes=sorted(counts))["InstanceTypes"]
    return sum(counts[machine["InstanceType"]] * int(machine["VCpuInfo"]["DefaultVCpus"]) for machine in about)


def _is_standard(machine: str) -> bool:
    """Say whether a type of machine counts against the quota, by its family: the letters before the generation."""
    family = _FAMILY.match(machine)
    return family is not None and family[1] in _STANDARD


def _secret(launch: Launch) -> None:
    name = launch.environment.get("STRONGLENS_DATABASE_SECRET")
    if name is not None:
        with one_line(f"secret {name}", "correct `database_secret`, or make it in the cluster's region"):
            client("secretsmanager", launch.config.region).describe_secret(SecretId=name)


def _certificate(launch: Launch) -> None:
    place = launch.config.root_certificate
    if place is not None and place != "system":
        bucket, key = bucket_and_key(place)
        with one_line(place, "upload the certificate that signs the database's, or correct `root_certificate`"):
            client("s3", launch.config.region).head_object(Bucket=bucket, Key=key)
