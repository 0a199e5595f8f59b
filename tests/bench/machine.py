"""On what it was measured: the machine, and how much memory a piece of work takes."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import resource
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def machine(folder: Path) -> dict[str, Any]:
    """Processor, cores, memory, and the disk that holds `folder`."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    disk = shutil.disk_usage(folder)
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "disk_gib": round(disk.total / 2**30),
        "disk_free_gib": round(disk.free / 2**30),
        "system": platform.platform(),
        "load_average_before": list(os.getloadavg()),
    }


def peak_gib(work: Callable[..., object], *arguments: object) -> float:
    """Do the work in a fresh process, and return the most memory that it, or one process that it started, took, in GiB.

    `work` and its arguments are sent to that process: `work` is a function of a module.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, work, arguments).result()


def _peak(work: Callable[..., object], arguments: tuple[object, ...]) -> float:
    work(*arguments)
    own, of_others = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own, of_others) / 2**20
