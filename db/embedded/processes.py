"""Which server processes belong to a data directory, asked of /proc and not of a pid file that may lie."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


def postmaster(data: Path) -> int | None:
    """Process id of the live postmaster of ``data``; None if its pid file is absent, stale or a stranger's."""
    try:
        pid = int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if _serves(_PROC / str(pid), data) else None


def server_processes(data: Path) -> list[int]:
    """All live PostgreSQL processes working in ``data``, with or without a postmaster above them."""
    return [int(entry.name) for entry in _PROC.glob("[0-9]*") if _serves(entry, data)]


def _serves(entry: Path, data: Path) -> bool:
    try:
        return (entry / "exe").readlink().name.startswith("postgres") and (entry / "cwd").readlink() == data
    except OSError:  # it has gone, or belongs to another user
        return False
