"""Runs a command twice: while a folder has too little room, and after room was made.

Where the machine lets us mount (as root, or within a namespace of our own), the folder is a file system that gets full.
Elsewhere, as in a plain container, the kernel refuses to write more than so much into one file.

Prints one JSON object: `refusal` (what the kernel says of it) and `runs`: status, what was printed, and the SHA-256 of
the folder's files after each.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMESPACES = (["unshare", "-m"], ["unshare", "-rm"])


def cramped(
    folder: Path, n_bytes: int, file_bytes: int, command: list[str], namespaces: Sequence[list[str]] = NAMESPACES
) -> dict[str, Any]:
    """Run a command with `n_bytes` of room in a folder or, where nothing can be mounted, `file_bytes` a file."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "none", str(folder)]
    for namespace in namespaces:
        try:
            if subprocess.run([*namespace, *mount], capture_output=True).returncode:
                continue
        except FileNotFoundError:
            break
        return _driven(namespace, "full", folder, n_bytes, command)
    return _driven([], "limited", folder, file_bytes, command)


def _driven(namespace: list[str], way: str, folder: Path, n_bytes: int, command: list[str]) -> dict[str, Any]:
    arguments = [sys.executable, __file__, way, str(folder), str(n_bytes), *command]
    done = subprocess.run([*namespace, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _main(way: str, folder: str, n_bytes: str, *command: str) -> None:
    if way == "full":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "none", folder], check=True)
        runs = [_run(command, folder)]
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(n_bytes), hard))
        runs = [_run(command, folder)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    runs.append(_run(command, folder))
    refusal = "No space left on device" if way == "full" else "File too large"
    sys.stdout.write(json.dumps({"refusal": refusal, "runs": runs}))


def _run(command: tuple[str, ...], folder: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    root = Path(folder)
    files = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }
    return {"status": done.returncode, "stderr": done.stderr, "stdout": done.stdout, "files": files}


if __name__ == "__main__":
    _main(*sys.argv[1:])
