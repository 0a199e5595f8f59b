"""`setup.sh` on machines that lack something, played by a PATH of our own and a fake system tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from db.settings import CHECKOUT

TOOLS = ["awk", "bash", "cat", "chmod", "cut", "dirname", "env", "grep", "head", "mkdir", "rm", "sed", "sh"]
TOOLS += ["sha256sum", "sort", "tail", "tee"]


class Machine:
    """A fake machine: programs in one folder, and a tree that stands for the file system's root."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.root / "etc").mkdir(parents=True)
        (self.root / "etc" / "os-release").write_text('ID=debian\nVERSION_ID="12"\n')
        for tool in TOOLS:
            (self.programs / tool).symlink_to(str(shutil.which(tool)))
        self.program("python3", f'exec {sys.executable} "$@"')
        self.program("id", "echo 1000")

    def program(self, name: str, body: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def java(self, version: str) -> None:
        self.program("java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")

    def postgres(self, major: int, *, q3c: bool) -> None:
        programs = self.root / f"usr/lib/postgresql/{major}/bin"
        share = self.root / f"usr/share/postgresql/{major}"
        programs.mkdir(parents=True, exist_ok=True)
        (share / "extension").mkdir(parents=True, exist_ok=True)
        if q3c:
            (share / "extension" / "q3c.control").write_text("")
        answer = f"case $1 in --version) echo PostgreSQL {major}.3;; --sharedir) echo '{share}';; esac"
        for name in ("initdb", "pg_config"):
            (programs / name).write_text(f"#!/bin/sh\n{answer}\n")
            (programs / name).chmod(0o755)

    def setup(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": str(self.programs),
            "STRONGLENS_SYSROOT": str(self.root),
            "STRONGLENS_VENV": str(self.root / "venv"),
        }
        return subprocess.run(
            [str(self.programs / "bash"), str(CHECKOUT / "setup.sh"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_root_one_message_gives_the_exact_command(machine: Machine) -> None:
    machine.program("apt-get", "exit 9")
    done = machine.setup("--tests")
    assert done.returncode == 1
    command = "apt-get install --no-install-recommends postgresql-15-q3c openjdk-17-jre-headless chromium"
    command += " postgresql-15-pgsphere"
    assert done.stderr == f"setup: missing system packages; as root run: apt-get update && {command}\n"


def test_only_what_is_missing_is_asked_for(machine: Machine) -> None:
    machine.program("apt-get", "exit 9")
    machine.postgres(16, q3c=True)
    machine.java("11.0.2")
    assert machine.setup().stderr.rstrip().endswith("--no-install-recommends openjdk-17-jre-headless")
    machine.java("17.0.15")
    machine.postgres(16, q3c=False)
    (machine.root / "usr/share/postgresql/16/extension/q3c.control").unlink()
    assert machine.setup().stderr.rstrip().endswith("--no-install-recommends postgresql-15-q3c")
    machine.postgres(14, q3c=True)
    assert machine.setup().stderr.rstrip().endswith("--no-install-recommends postgresql-15-q3c")


def test_with_all_packages_there_only_python_packages_are_left(machine: Machine) -> None:
    machine.postgres(15, q3c=True)
    machine.java("17.0.15")
    done = machine.setup("--check")
    assert done.returncode == 1
    assert "Python packages" in done.stderr
    assert "apt-get" not in done.stderr


def test_an_unsuitable_python_is_told(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.startswith("setup: Python 3.11 or 3.12 is not installed")


def test_a_python_without_venv_asks_for_its_package(machine: Machine) -> None:
    body = f"""case "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@\""""
    machine.program("python3", body)
    machine.program("apt-get", "exit 9")
    assert "--no-install-recommends python3-venv postgresql-15-q3c" in machine.setup().stderr


def test_a_system_without_apt_is_told_what_is_missing(machine: Machine) -> None:
    (machine.root / "etc/os-release").write_text("ID=fedora\nVERSION_ID=41\n")
    done = machine.setup()
    assert done.returncode == 1
    assert "this system (fedora 41) has no apt" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unknown_argument_is_told(machine: Machine) -> None:
    done = machine.setup("--brwoser")
    assert (done.returncode, done.stderr) == (2, "setup: unknown argument '--brwoser' (known: --tests, --check)\n")


@pytest.mark.parametrize("apt_succeeds", [True, False])
def test_the_package_cannot_start_a_cluster_and_no_rule_stays_behind(machine: Machine, apt_succeeds: bool) -> None:
    seen = machine.root / "seen"
    machine.program("id", "echo 0")
    machine.java("17.0.15")
    # At the moment of installation it notes which rules are in force, then does what the package would do.
    machine.program(
        "apt-get",
        f"""case "$*" in *install*)
            cat {machine.root}/etc/postgresql-common/createcluster.d/stronglens.conf > {seen}
            {machine.root}/usr/sbin/policy-rc.d; echo "policy $?" >> {seen}
            echo "$DEBIAN_FRONTEND $*" >> {seen}
            {"exit 0" if apt_succeeds else "exit 100"};; esac""",
    )
    done = machine.setup()
    assert done.returncode != 0
    if apt_succeeds:
        assert "still missing after installation: postgresql-15-q3c" in done.stderr
    noted = seen.read_text().splitlines()
    assert noted[:2] == ["create_main_cluster = false", "policy 101"]
    assert re.fullmatch(
        "noninteractive .*DPkg::Lock::Timeout=300.* install -y --no-install-recommends postgresql-15-q3c", noted[2]
    )
    assert not (machine.root / "etc/postgresql-common/createcluster.d/stronglens.conf").exists()
    assert not (machine.root / "usr/sbin/policy-rc.d").exists()


def test_a_policy_that_was_there_stays(machine: Machine) -> None:
    policy = machine.root / "usr/sbin/policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text("#!/bin/sh\nexit 0\n")
    machine.program("id", "echo 0")
    machine.java("17.0.15")
    machine.program("apt-get", "exit 0")
    machine.setup()
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_elsewhere_the_newest_package_of_the_distribution_is_taken(machine: Machine) -> None:
    (machine.root / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="24.04"\n')
    names = "".join(f"echo 'postgresql-{major}-q3c - sky indexing'; " for major in (14, 16, 9))
    machine.program("apt-cache", f"case $1 in search) {names};; show) exit 0;; esac")
    machine.program("apt-get", "exit 9")
    assert "postgresql-16-q3c openjdk-17-jre-headless" in machine.setup().stderr


def test_tests_get_pg_sphere_beside_the_q3c_that_is_there(machine: Machine) -> None:
    (machine.root / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="24.04"\n')
    machine.program("apt-cache", "case $2 in postgresql-16-pgsphere) exit 0;; *) exit 100;; esac")
    machine.program("apt-get", "exit 9")
    machine.program("chromium", "exit 0")
    machine.java("17.0.15")
    machine.postgres(16, q3c=True)
    assert machine.setup("--tests").stderr.rstrip().endswith("--no-install-recommends postgresql-16-pgsphere")
    assert "apt-get" not in machine.setup("--check").stderr
    (machine.root / "usr/share/postgresql/16/extension/pg_sphere.control").write_text("")
    assert "apt-get" not in machine.setup("--tests", "--check").stderr


def test_tests_do_without_pg_sphere_where_apt_has_none(machine: Machine) -> None:
    (machine.root / "etc/os-release").write_text('ID=ubuntu\nVERSION_ID="24.04"\n')
    machine.program("apt-cache", "exit 100")
    machine.program("chromium", "exit 0")
    machine.java("17.0.15")
    machine.postgres(16, q3c=True)
    assert "apt-get" not in machine.setup("--tests", "--check").stderr


def test_set_up_is_quick_when_everything_is_there() -> None:
    """These tests run in a checkout that is set up; `--check` takes the same path and never installs."""
    began = time.monotonic()
    done = subprocess.run(
        [str(CHECKOUT / "setup.sh"), "--check"], env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 2


def test_the_lock_pins_every_package_and_names_no_index() -> None:
    lines = (CHECKOUT / "requirements.lock").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    wrong = [line for line in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*(  # no-deps)?", line)]
    assert not wrong
    assert [line.split("==")[0] for line in pins if line.endswith("# no-deps")] == ["lenscat"]
    assert {"torch==2.13.0", "torchvision==0.28.0", "pyspark==3.5.6"} <= set(pins)


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert {line.split()[0] for line in listed.splitlines()} == set(phony.group(1).split())
