"""When a worker is unhealthy."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from supervisor.config.models import Health as Limits
from supervisor.fleet import health
from supervisor.fleet.filemap import Health
from supervisor.fleet.fork_server import Child
from supervisor.fleet.health import HealthCheck, Verdict, judge, parse_stat
from supervisor.runtime.timers import Timers
from tests.unit.fleets import small_fleet
from workers import channel

LIMITS = Limits(heartbeat="30s", max_rss="64MiB", max_cpu="90%", max_cpu_for="60s", max_open_files=64)  # type: ignore[arg-type] # as the file has it
WELL = {"rss_bytes": 64 << 20, "cpu_percent": 1.0, "status": "sleeping", "open_files": 64}


def judged(request_at: float | None = None, **figures: object) -> Verdict | None:
    """Judge a worker that is healthy except for `figures`, at 100 s."""
    return judge(Health(**{**WELL, **figures}), request_at, LIMITS, now=100.0)  # type: ignore[arg-type] # figures of any kind


@pytest.mark.parametrize("request_at", [None, 100.0, 70.0])
def test_healthy(request_at: float | None) -> None:
    """A worker at its limits is healthy, also before the first measurement."""
    assert judged(request_at) is None
    assert judge(Health(), request_at, LIMITS, now=100.0) is None


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"status": "stopped"}, "stopped by a signal (SIGSTOP)"),
        ({"status": "tracing-stop"}, "stopped by a signal (SIGSTOP)"),
        ({"rss_bytes": 65 << 20}, "uses 65 MiB, more than max_rss (64 MiB)"),
        ({"open_files": 65}, "has 65 files open, more than max_open_files (64)"),
        ({"busy_since": 40.0, "cpu_percent": 99.4}, "has used 99% of a CPU for 60 s (max_cpu 90%)"),
        ({"request_at": 69.0}, "has not responded for 31 s (heartbeat 30 s)"),
        ({"request_at": 69.0, "status": "running"}, "has not responded for 31 s (heartbeat 30 s)"),
    ],
)
def test_unhealthy(figures: dict[str, object], reason: str) -> None:
    """The reason has the figure and its limit."""
    assert judged(**figures) == Verdict(reason)  # type: ignore[arg-type] # figures of any kind


def test_disk_sleep() -> None:
    """A worker in D state is reported, not killed: the signal would wait, too."""
    verdict = judged(60.0, status="disk-sleep")
    assert verdict is not None
    assert not verdict.kill
    assert "waiting for the disk for 40 s" in verdict.reason
    assert judged(99.0, status="disk-sleep") is None


# /proc/PID/stat on Linux 6.1, of a worker.
STAT = (
    b"705 (python) S 701 701 701 0 -1 4194304 1588 0 0 0 13 7 0 0 20 0 1 0 284 11620352 2113 18446744073709551615"
    b" 365788049408 365788049749 548679624640 0 0 0 0 16781312 2 1 0 0 17 0 0 0 0 0 0 365788061104 365788061600"
    b" 365788069888 548679625324 548679625395 548679625395 548679626712 0\n"
)


@pytest.mark.parametrize("name", [b"python", b"a) R 1 (b", b"\xff \n"])
def test_state_and_cpu(name: bytes) -> None:
    """They are psutil's words, with any process name."""
    text = STAT.replace(b"(python)", b"(" + name + b")")
    assert parse_stat(text) == ("sleeping", 13 + 7)
    assert parse_stat(text.replace(b") S ", b") T ")) == ("stopped", 20)


def test_own_state_and_cpu() -> None:
    """The figures of this process agree with psutil's."""
    process, second = psutil.Process(), os.sysconf("SC_CLK_TCK")
    before = process.cpu_times()
    status, ticks = parse_stat(Path("/proc/self/stat").read_bytes())
    after = process.cpu_times()
    used = [round((times.user + times.system) * second) for times in (before, after)]
    assert used[0] <= ticks <= used[1]
    assert status == process.status()


def test_each_worker_in_disk_sleep_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if its predecessor waited until it ended."""
    monkeypatch.setattr(health, "judge", lambda *_: Verdict("waits for the disk", kill=False))
    ours, theirs = channel.pair()
    with small_fleet(tmp_path) as fleet, closing(ours), closing(theirs):
        (filemap,) = fleet.filemaps.values()
        check = HealthCheck(fleet, Timers())
        for worker in (1, 2):
            filemap.child, filemap.health = Child(os.getpid(), ours), Health()
            for _ in range(2):
                check._check(filemap, time.monotonic())
            assert caplog.text.count("waits for the disk") == worker
