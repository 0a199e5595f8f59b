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
    of_others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(_own_peak_kib(), of_others) / 2**20


def _own_peak_kib() -> int:
    """Ask for the peak of this program alone: `ru_maxrss` begins with the size of the process that started it."""
    peak = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if peak is None:
        raise OSError("/proc/self/status tells no VmHWM: memory is measured on Linux only")
    return int(peak[1])
