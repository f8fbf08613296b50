"""What running processes use: CPU, memory, turns on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

import psutil

_MIB: Final = 2**20


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU time that processes and their ended children used, in steps of a clock tick (10 ms). Of one that
    has ended since, what it used is with its parent."""
    used = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system + times.children_user + times.children_system
    return used


def wakes(processes: Iterable[psutil.Process]) -> dict[int, int]:
    """Return how often each process went to sleep of its own accord, as often as it had been woken, by pid; none that
    has ended."""
    counts = {}
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            counts[process.pid] = process.num_ctx_switches().voluntary
    return counts


def total_pss(processes: Iterable[psutil.Process]) -> float:
    """Return the MiB that processes have in memory together, shared pages once."""
    pss = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            pss += process.memory_full_info().pss / _MIB
    return pss


def uss(process: psutil.Process) -> float:
    """Return the MiB that a process has in memory alone. Raises NoSuchProcess."""
    return float(process.memory_full_info().uss) / _MIB
