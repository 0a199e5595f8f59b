"""Which of the system's PostgreSQL installations to run: the newest one that has the Q3C extension."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from db.errors import ServerError

OLDEST_MAJOR = 15
_PROGRAMS = ("initdb", "pg_ctl", "postgres", "pg_config")


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation: its program folder, major version, and whether Q3C is installed for it."""

    folder: Path
    major: int
    has_q3c: bool

    def program(self, name: str) -> str:
        """Full path of one of its programs."""
        return str(self.folder / name)


def binaries(major: int | None = None, folders: Iterable[Path] | None = None) -> Binaries:
    """Choose the newest installation with Q3C, or the one of the given major version.

    Parameters
    ----------
    major
        Version that an existing data directory needs; None takes the newest of 15 or later.
    folders
        Program folders to look in; by default those of the distribution and of ``pg_config``.

    Raises
    ------
    ServerError
        When there is none, naming the package to install.
    """
    inspected = [_inspect(folder) for folder in (system_folders() if folders is None else folders)]
    found = [one for one in inspected if one is not None]
    usable = [one for one in found if one.major >= OLDEST_MAJOR and major in (None, one.major)]
    complete = [one for one in usable if one.has_q3c]
    if complete:
        return max(complete, key=lambda one: one.major)
    fix = "run ./setup.sh, or set STRONGLENS_DATABASE_URL to a server that has it"
    if usable:
        newest = max(one.major for one in usable)
        package = f"postgresql-{newest}-q3c"
        raise ServerError(f"PostgreSQL {newest} lacks the Q3C extension: apt-get install {package}; {fix}")
    if major is not None:
        wanted = f"PostgreSQL {major}, which made this checkout's data directory, is not installed"
        raise ServerError(f"{wanted}: apt-get install postgresql-{major}-q3c; {fix}")
    old = sorted({one.major for one in found})
    seen = f" (only {', '.join(map(str, old))} found)" if old else ""
    wanted = f"PostgreSQL {OLDEST_MAJOR} or newer with Q3C is not installed{seen}"
    raise ServerError(f"{wanted}: apt-get install postgresql-{OLDEST_MAJOR}-q3c (or a newer version); {fix}")


def system_folders() -> list[Path]:
    """Program folders of the distribution's PostgreSQL packages, and the one that ``pg_config`` names."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    pg_config = shutil.which("pg_config")
    if pg_config:
        folders.append(Path(_output(pg_config, "--bindir")))
    return folders


def _inspect(folder: Path) -> Binaries | None:
    if not all((folder / program).exists() for program in _PROGRAMS):
        return None
    pg_config = str(folder / "pg_config")
    version = re.search(r"\d+", _output(pg_config, "--version"))
    if version is None:
        return None
    control = Path(_output(pg_config, "--sharedir")) / "extension" / "q3c.control"
    return Binaries(folder, int(version.group()), control.exists())


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
