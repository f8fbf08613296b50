"""Health checks of workers: /proc, psutil, and how long a request has had no response."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import psutil

from supervisor.config.models import Health as Limits
from supervisor.fleet.filemap import Filemap, Health
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.state_machine import Event, State
from supervisor.fleet.worker_processes import GRACE
from supervisor.runtime.timers import Timer, Timers

# A round of checks is made in this many parts, so that it never blocks the event loop for long.
_PARTS: Final = 10
# A worker that used no CPU has neither grown nor opened anything that counts. psutil takes ten times as long as
# reading CPU and state, so it measures all workers only in one of this many rounds.
_THOROUGH: Final = 6
_SHORT: Final = 1024
_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
# By the letters of proc(5).
_STATUS: Final = {
    "R": psutil.STATUS_RUNNING,
    "S": psutil.STATUS_SLEEPING,
    "D": psutil.STATUS_DISK_SLEEP,
    "T": psutil.STATUS_STOPPED,
    "t": psutil.STATUS_TRACING_STOP,
    "Z": psutil.STATUS_ZOMBIE,
    "X": psutil.STATUS_DEAD,
}
_DEAD: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
_STOPPED: Final = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a worker. `kill` is False in disk sleep: the kernel doesn't let the process die."""

    reason: str
    kill: bool = True


class HealthCheck:
    """Checks every worker once an interval, and terminates those that are unhealthy."""

    def __init__(self, fleet: Fleet, timers: Timers) -> None:
        self._fleet = fleet
        self._timers = timers
        self._timer: Timer | None = None
        self._round: deque[Filemap] = deque()
        self._part = 0
        self._round_ended = time.monotonic()
        self._rounds = 0

    @property
    def _thorough(self) -> bool:
        """Whether this round measures all workers with psutil."""
        return self._rounds % _THOROUGH == 0

    def start(self) -> None:
        """Start the checks, at the interval that the configuration has now."""
        if self._timer is not None:
            self._timer.cancel()
        self._check_part()

    def _check_part(self) -> None:
        """Check the next part of the workers."""
        if not self._round:
            self._begin_round()
        now = time.monotonic()
        for _ in range(min(self._part, len(self._round))):
            self._check(self._round.popleft(), now)
        interval = self._fleet.config.supervisor.health.interval
        self._timer = self._timers.at(time.monotonic() + interval / _PARTS, self._check_part)

    def _begin_round(self) -> None:
        filemaps = self._fleet.filemaps.values()
        self._round.extend(f for f in filemaps if f.child is not None)
        self._part = -(-len(self._round) // _PARTS)
        self._round_ended = time.monotonic()
        self._rounds += 1

    def is_healthy(self, now: float) -> bool:
        """Return whether checks are made on time and every terminated worker has ended, except in disk sleep."""
        health = self._fleet.config.supervisor.health
        if now - self._round_ended > 3 * health.interval + GRACE:
            return False
        return not any(
            f.terminated_at is not None
            and now - f.terminated_at > 2 * GRACE
            and f.health.status != psutil.STATUS_DISK_SLEEP
            for f in self._fleet.filemaps.values()
        )

    def measure_new(self, filemap: Filemap) -> None:
        """Measure a worker that no check has measured yet."""
        if filemap.child is not None and filemap.health.rss_bytes is None:
            self._measure(filemap, filemap.child.pid, time.monotonic())

    def _check(self, filemap: Filemap, now: float) -> None:
        if filemap.child is None or not self._measure(filemap, filemap.child.pid, now):
            return
        if filemap.record.state is State.STOPPING or filemap.terminated_at is not None:
            return
        limits = self._fleet.config.supervisor.health
        verdict = judge(filemap.health, filemap.request_at, limits, self._timers.as_of)
        if verdict is None:
            filemap.health.wait_logged = False
            if filemap.record.attempt:
                self._fleet.advance(filemap, Event.HEALTHY)
        elif verdict.kill:
            self._fleet.processes.terminate_unhealthy(filemap, verdict.reason)
        elif not filemap.health.wait_logged:
            filemap.health.wait_logged = True
            filemap.log(logging.WARNING, "worker %d %s", filemap.child.pid, verdict.reason)

    def _measure(self, filemap: Filemap, pid: int, now: float) -> bool:
        """Measure a worker. Return False where it can't be measured: it has ended, and its exit follows."""
        health = filemap.health
        before = health.rss_bytes
        try:
            health.status, ticks = parse_stat(_read(f"/proc/{pid}/stat"))
            if before is None or ticks != health.cpu_ticks or self._thorough:
                process = psutil.Process(pid)
                health.rss_bytes = process.memory_info().rss
                health.open_files = process.num_fds()
        except (psutil.Error, OSError):  # OSError: no descriptor is available
            return False
        health.cpu_percent = _percent(ticks - health.cpu_ticks, health.measured_at, now)
        health.cpu_ticks, health.measured_at = ticks, now
        if health.rss_bytes != before:
            self._fleet.status_changed(filemap.path)
        limits = self._fleet.config.supervisor.health
        if health.cpu_percent < limits.max_cpu:
            health.busy_since = None
        elif health.busy_since is None:
            health.busy_since = now
        return health.status not in _DEAD


def _read(path: str) -> bytes:
    """Return a short file of /proc, in three system calls."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _SHORT)
    finally:
        os.close(fd)


def parse_stat(text: bytes) -> tuple[str, int]:
    """Return a process's state in psutil's words, and its CPU in clock ticks, from /proc/PID/stat (proc(5))."""
    # The name in parentheses may hold anything, so count from its end: state is field 3, utime 14 and stime 15.
    state, *fields = text[text.rindex(b")") + 2 :].split(b" ", 13)
    letter = state.decode()
    return _STATUS.get(letter, letter), int(fields[10]) + int(fields[11])


def _percent(ticks: int, since: float | None, now: float) -> float:
    """Return clock ticks as percent of one CPU in the time since `since`; 0 for the first measurement."""
    return round(100 * ticks * _TICK / (now - since), 1) if since is not None and now > since else 0.0


def judge(health: Health, request_at: float | None, limits: Limits, now: float) -> Verdict | None:
    """Return what is wrong with a worker, None for a healthy one. A request has had no response since `request_at`.

    Pure; times are monotonic seconds.
    """
    silent = 0.0 if request_at is None else now - request_at
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
        return Verdict(f"has been waiting for the disk for {silent:.0f} s and can't be killed", kill=False)
    if silent > limits.heartbeat:
        return Verdict(f"has not responded for {silent:.0f} s (heartbeat {limits.heartbeat:g} s)")
    return None
