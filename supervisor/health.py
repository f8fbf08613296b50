"""Whether workers are well: what psutil tells of them, and whether they answer."""

from __future__ import annotations

import time
from typing import Final

import psutil

from supervisor.config import Health as Limits
from supervisor.filemap import Filemap
from supervisor.fleet import Fleet
from supervisor.states import Event, State

_DEAD: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
_STOPPED: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


class HealthCheck:
    """Looks at every worker once an interval, and has those killed that are not well."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._processes: dict[int, psutil.Process] = {}

    def check(self) -> None:
        """Look at all workers."""
        limits = self._fleet.config.supervisor.health
        alive: dict[int, psutil.Process] = {}
        for filemap in list(self._fleet.filemaps.values()):
            if filemap.child is None:
                continue
            pid, before = filemap.child.pid, filemap.health.rss_bytes
            process = self._process(pid)
            if process is None or not _measure(filemap, process):
                continue
            alive[pid] = process
            if filemap.health.rss_bytes != before:
                self._fleet.changed(filemap.path)
            if filemap.record.state is State.STOPPING:
                continue
            trouble = _trouble(filemap, limits, time.monotonic())
            if trouble is not None:
                self._fleet.kill_for(filemap, trouble)
            else:
                self._fleet.event(filemap, Event.HEALTHY)
        self._processes = alive

    def measure_new(self) -> None:
        """Read the figures of workers that no check has seen yet."""
        for filemap in self._fleet.filemaps.values():
            if filemap.child is not None and filemap.health.rss_bytes is None:
                process = self._process(filemap.child.pid)
                if process is not None and _measure(filemap, process):
                    self._processes[filemap.child.pid] = process

    def _process(self, pid: int) -> psutil.Process | None:
        """Return the process, the same object each time, as CPU is measured from one call to the next."""
        try:
            return self._processes.get(pid) or psutil.Process(pid)
        except psutil.Error:
            return None


def _measure(filemap: Filemap, process: psutil.Process) -> bool:
    """Read a worker's figures; False where it has gone, which its exit will tell."""
    try:
        with process.oneshot():
            filemap.health.rss_bytes = process.memory_info().rss
            filemap.health.cpu_percent = process.cpu_percent()
            filemap.health.status = process.status()
    except psutil.Error:
        return False
    return filemap.health.status not in _DEAD


def _trouble(filemap: Filemap, limits: Limits, now: float) -> str | None:
    """Return what is wrong with a worker, None where nothing is."""
    health = filemap.health
    if health.status in _STOPPED:
        return "stopped by a signal (SIGSTOP)"
    if health.rss_bytes is not None and health.rss_bytes > limits.max_rss:
        return f"uses {health.rss_bytes >> 20} MiB, more than max_rss ({limits.max_rss >> 20} MiB)"
    if filemap.asked_at is not None and now - filemap.asked_at > limits.heartbeat:
        return f"has not answered for {now - filemap.asked_at:.0f} s (heartbeat {limits.heartbeat:g} s)"
    return None
