"""What running processes use: CPU, memory, turns on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one process in MiB: shared pages in equal parts (PSS), and what is its alone (USS)."""

    pss: float
    uss: float


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU time that processes and their ended children used, in steps of a clock tick (10 ms)."""
    return sum(
        sum((times.user, times.system, times.children_user, times.children_system))
        for times in (process.cpu_times() for process in processes)
    )


def turns(processes: Iterable[psutil.Process]) -> list[int]:
    """Return how often each process went to sleep of its own accord: how often it had been woken."""
    return [process.num_ctx_switches().voluntary for process in processes]


def memory(process: psutil.Process) -> Memory:
    """Return what a process has in memory."""
    full = process.memory_full_info()
    return Memory(full.pss / 2**20, full.uss / 2**20)
