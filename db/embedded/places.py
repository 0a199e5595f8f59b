"""Where a checkout's cluster lives, and whose processes serve it.

A user's cluster is under the home folder. PostgreSQL refuses to run as root, and an unprivileged account cannot
enter a folder below root's home, so root's cluster is under /var/lib and belongs to a service account.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from db.errors import ServerError

ROOT_BASE = Path("/var/lib/stronglens")
ROOT_SOCKETS = Path("/run/stronglens")
# Not the TMPDIR of the moment: two shells must find the same socket.
USER_SOCKETS = Path("/tmp")  # noqa: S108
_SERVICE_ACCOUNTS = ("postgres", "stronglens")


@dataclass(frozen=True)
class Account:
    """An operating system account by number."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Places:
    """The folders of one cluster and the account that owns them."""

    root: Path
    socket: Path
    owner: Account

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.root / "log"


def places(home: Path, *, as_root: bool) -> Places:
    """Name the folders of the cluster of ``home``; makes only root's identity file and account."""
    if not as_root:
        owner = Account(os.geteuid(), os.getegid())
        key = _short_hash(str(home))
        return Places(home / "pg", USER_SOCKETS / f"stronglens-{owner.uid}-{key}", owner)
    # The identity keeps a new clone at an old path from adopting the database of the clone before it.
    key = _short_hash(f"{home}\n{_identity(home)}")
    return Places(ROOT_BASE / key, ROOT_SOCKETS / key, _service_account())


def private_folder(folder: Path, owner: Account) -> None:
    """Make ``folder`` with mode 0700 for ``owner``, or verify that the one there is exactly that.

    Raises
    ------
    ServerError
        When something else is at that path: in a shared folder such as /tmp it may be another user's trap.
    """
    if not folder.parent.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.chmod(0o755)  # whatever the umask: the owner must be able to pass
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as exc:
        fix = "set STRONGLENS_HOME to a writable folder"
        raise ServerError(f"cannot make {folder}: {exc.strerror}; {fix}") from exc
    else:
        if owner.uid != os.geteuid():
            os.chown(folder, owner.uid, owner.gid)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner.uid or stat.S_IMODE(found.st_mode) & 0o077:
        expected = f"a private folder of uid {owner.uid} (mode 0700)"
        raise ServerError(f"{folder} is not {expected}; remove it and start the server again")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _identity(home: Path) -> str:
    path = home / "cluster-id"
    if not path.exists():
        draft = home / f"cluster-id.{os.getpid()}"
        draft.write_text(secrets.token_hex(8))
        draft.replace(path)
    return path.read_text().strip()


def _service_account() -> Account:
    for name in _SERVICE_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    name = _SERVICE_ACCOUNTS[-1]
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    made = subprocess.run([*command, name], capture_output=True, text=True, check=False)
    if made.returncode:
        raise ServerError(f"cannot create the service account {name!r}: {made.stderr.strip()}")
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid)
