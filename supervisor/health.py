"""Whether workers are well: what psutil tells of them, and whether they answer."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import psutil

from supervisor.config import Health as Limits
from supervisor.filemap import Filemap, Health
from supervisor.fleet import GRACE, Fleet
from supervisor.states import Event, State
from supervisor.timers import Timer, Timers

_log = logging.getLogger("filemapd.supervisor")

# A round is made in so many parts, so that the main loop is never held up for long.
_PARTS: Final = 10
# Who used no CPU has neither grown nor opened anything, but for what is too little to be counted. To read that alone
# is half of the work, so all is read only in one round of so many.
_THOROUGH: Final = 6
_DEAD: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
_STOPPED: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a worker. One that the kernel holds (disk sleep) can't be killed, and is waited for."""

    reason: str
    kill: bool = True


class HealthCheck:
    """Looks at every worker once an interval, and has those killed that are not well."""

    def __init__(self, fleet: Fleet, timers: Timers) -> None:
        self._fleet = fleet
        self._timers = timers
        self._timer: Timer | None = None
        self._processes: dict[int, psutil.Process] = {}
        self._round: deque[Filemap] = deque()
        self._part = 0
        self._waited_for: set[str] = set()
        self._round_ended = time.monotonic()
        self._rounds = 0

    @property
    def _thorough(self) -> bool:
        """Tell whether this round is one in which all figures of all workers are read."""
        return self._rounds % _THOROUGH == 0

    def start(self) -> None:
        """Look at the workers from now on, at the configuration's interval as it is now."""
        if self._timer is not None:
            self._timer.cancel()
        self._look_at_some()

    def _look_at_some(self) -> None:
        """Look at the next part of the workers; after so many parts each has been looked at."""
        if not self._round:
            self._begin_round()
        for _ in range(min(self._part, len(self._round))):
            self._check(self._round.popleft())
        interval = self._fleet.config.supervisor.health.interval
        self._timer = self._timers.at(time.monotonic() + interval / _PARTS, self._look_at_some)

    def _begin_round(self) -> None:
        filemaps = self._fleet.filemaps.values()
        self._round.extend(f for f in filemaps if f.child is not None)
        self._part = -(-len(self._round) // _PARTS)
        alive = {f.child.pid for f in self._round if f.child is not None}
        self._processes = {pid: process for pid, process in self._processes.items() if pid in alive}
        self._round_ended = time.monotonic()
        self._rounds += 1

    def sound(self, now: float) -> bool:
        """Tell whether the workers are seen to: rounds are made, and none that is not well outlives its end."""
        health = self._fleet.config.supervisor.health
        if now - self._round_ended > 3 * health.interval + GRACE:
            return False
        return not any(
            f.killed_at is not None
            and now - f.killed_at > 2 * GRACE
            and f.health.status != psutil.STATUS_DISK_SLEEP
            for f in self._fleet.filemaps.values()
        )

    def measure_new(self, filemap: Filemap) -> None:
        """Read the figures of a worker that no check has seen yet."""
        if filemap.child is not None and filemap.health.rss_bytes is None:
            self._measure(filemap, filemap.child.pid, time.monotonic())

    def _check(self, filemap: Filemap) -> None:
        now = time.monotonic()
        if filemap.child is None or not self._measure(filemap, filemap.child.pid, now):
            return
        if filemap.record.state is State.STOPPING or filemap.killed_at is not None:
            return
        verdict = judge(filemap.health, filemap.asked_at, self._fleet.config.supervisor.health, now)
        if verdict is None:
            self._waited_for.discard(filemap.path)
            self._fleet.event(filemap, Event.HEALTHY)
        elif verdict.kill:
            self._fleet.kill_for(filemap, verdict.reason)
        elif filemap.path not in self._waited_for:
            self._waited_for.add(filemap.path)
            filemap.log(logging.WARNING, "worker %d %s", filemap.child.pid, verdict.reason)

    def _measure(self, filemap: Filemap, pid: int, now: float) -> bool:
        """Read a worker's figures; False where they can't be had: it has gone, which its exit will tell."""
        health = filemap.health
        before = health.rss_bytes
        try:
            # The same object each time, as CPU is measured from one call to the next.
            process = self._processes.get(pid) or psutil.Process(pid)
            with process.oneshot():
                health.cpu_percent = process.cpu_percent()
                health.status = process.status()
                if before is None or health.cpu_percent or self._thorough:
                    health.rss_bytes = process.memory_info().rss
                    health.open_files = process.num_fds()
        except (psutil.Error, OSError):  # OSError: there is no descriptor to be had just now
            return False
        self._processes[pid] = process
        if health.rss_bytes != before:
            self._fleet.changed(filemap.path)
        limits = self._fleet.config.supervisor.health
        if health.cpu_percent < limits.max_cpu:
            health.busy_since = None
        elif health.busy_since is None:
            health.busy_since = now
        return health.status not in _DEAD


def judge(health: Health, asked_at: float | None, limits: Limits, now: float) -> Verdict | None:
    """Return what is wrong with a worker that owes an answer since `asked_at`, None where nothing is. Pure."""
    silent = 0.0 if asked_at is None else now - asked_at
    if health.status in _STOPPED:
        return Verdict("stopped by a signal (SIGSTOP)")
    if health.rss_bytes is not None and health.rss_bytes > limits.max_rss:
        return Verdict(f"uses {health.rss_bytes >> 20} MiB, more than max_rss ({limits.max_rss >> 20} MiB)")
    if health.open_files is not None and health.open_files > limits.max_open_files:
        return Verdict(
            f"has {health.open_files} files open, more than max_open_files ({limits.max_open_files})"
        )
    if health.busy_since is not None and now - health.busy_since >= limits.max_cpu_for:
        return Verdict(
            f"has used {health.cpu_percent:.0f}% of a CPU for {now - health.busy_since:.0f} s "
            f"(max_cpu {limits.max_cpu:g}%)"
        )
    if silent > limits.heartbeat and health.status == psutil.STATUS_DISK_SLEEP:
        return Verdict(f"waits for the disk for {silent:.0f} s: it can't be killed meanwhile", kill=False)
    if silent > limits.heartbeat:
        return Verdict(f"has not answered for {silent:.0f} s (heartbeat {limits.heartbeat:g} s)")
    return None
