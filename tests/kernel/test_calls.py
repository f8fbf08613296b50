"""How many system calls a worker makes for each request, and the supervisor at rest."""

from __future__ import annotations

import mmap
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.control.client import call
from tests.kernel.changes import fallocate, opened
from tests.kernel.conftest import KIB64, Disk, read_direct
from tests.kernel.running import Running, running, wait_for, wakes_of
from tests.kernel.tracing import Trace, traced

# No health check while strace stops the process, and samples only on request.
QUIET: dict[str, Any] = {"supervisor": {"health": {"interval": "1h"}}, "defaults": {"sample": "1h"}}
PIECES = 20
FILES = 40
SWEEPS = 10
# The processes are listed every 5 s; each new one takes some calls, three times.
SETTLING = 16
# In a sweep, for any number of files: the loop's own, the device's statistics, its regions, its name.
FIXED = 25


def wait_at_rest(*pids: int) -> None:
    """Wait until processes have slept for three seconds. A reconcile starts half a second after a write at
    most, and the supervisor sweeps once a second."""
    seen, since = wakes(*pids), time.monotonic()

    def asleep() -> bool:
        nonlocal seen, since
        now = wakes(*pids)
        if now != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 3

    wait_for("the processes are at rest", asleep, pause=0.2)


def wakes(*pids: int) -> list[int]:
    """Return how often each process went to sleep."""
    return [wakes_of(pid) for pid in pids]


def calls_for(supervisor: Running, pid: int, responses: int, act: Callable[[], object]) -> Counter[str]:
    """Return the system calls of a worker at rest for the requests that `act` causes, until it has sent
    `responses` messages.

    If the request arrived while strace attached to the worker, that call isn't recorded, and everything is
    repeated.
    """
    while not (calls := _traced_calls(supervisor, pid, responses, act))["recvfrom"]:
        pass
    return calls


def _traced_calls(supervisor: Running, pid: int, responses: int, act: Callable[[], object]) -> Counter[str]:
    wait_at_rest(pid)
    with traced(pid, supervisor.folder) as trace:
        act()
        wait_for("the worker responds", lambda: trace.calls()["sendto"] >= responses)
        return trace.calls()


def test_calls_of_a_worker(disk: Disk, tmp_path: Path) -> None:
    """A request and its response take one call each. In between, an update without changes checks the file's
    name and reads its extents. One more extent takes a list, a create and a set_aux besides. A sample takes
    one call for each region."""
    file = disk.pieces("db01.img", PIECES)
    page = mmap.mmap(-1, 4096)
    with running(tmp_path, {**QUIET, "filemaps": [{"path": str(file)}]}) as supervisor:
        pid = supervisor.wait_state(file)["pid"]
        with opened(file, os.O_RDWR | os.O_DIRECT) as fd:
            same = calls_for(supervisor, pid, 1, lambda: os.pwrite(fd, page, 0))
            more = calls_for(
                supervisor, pid, 2, lambda: fallocate(fd, 0, os.fstat(fd).st_size + KIB64, KIB64)
            )
        read_direct(file, 0, 1)
        sampled = calls_for(
            supervisor, pid, 1, lambda: call(supervisor.runtime_dir, "POST", "/v1/sample", None)
        )
    assert same == {"recvfrom": 1, "newfstatat": 1, "ioctl": 1, "sendto": 1}
    assert more == {"recvfrom": 1, "newfstatat": 1, "ioctl": 4, "getpid": 1, "sendto": 2}
    assert sampled == {"recvfrom": 1, "ioctl": PIECES + 1, "sendto": 1}


def test_reconcile_and_sample_are_one_request(disk: Disk, tmp_path: Path) -> None:
    """A reconcile samples the counters too if the sample is due soon: one request asks for both, and one
    response covers both if the reconcile found no change."""
    file = disk.pieces("db01.img", PIECES)
    page = mmap.mmap(-1, 4096)
    config = {**QUIET, "defaults": {"sample": "4s"}, "filemaps": [{"path": str(file)}]}
    with running(tmp_path, config) as supervisor, opened(file, os.O_RDWR | os.O_DIRECT) as fd:
        pid = supervisor.wait_state(file)["pid"]

        def both() -> bool:
            os.pwrite(fd, page, 0)
            with traced(pid, tmp_path) as trace:
                os.pwrite(fd, page, 0)
                wait_for("the worker responds", lambda: trace.calls()["sendto"] >= 1)
                calls = trace.calls()
            return calls == {"recvfrom": 1, "newfstatat": 1, "ioctl": 1 + PIECES, "sendto": 1}

        wait_for("a reconcile includes a sample", both, pause=0.3)


def sweeps(trace: Trace) -> int:
    """Return the number of the supervisor's sweeps: each reads the device's statistics once."""
    return sum("/sys/dev/block/" in line and "/stat" in line for line in trace.lines())


def test_calls_at_rest(disk: Disk, tmp_path: Path) -> None:
    """Workers make no call and never wake up. The supervisor makes one call for each file in ten sweeps, and
    a fixed number for all of them."""
    for number in range(FILES):
        disk.write(f"vm{number:02}.img", KIB64)
    config = {**QUIET, "directories": [{"path": str(disk.folder)}]}
    with running(tmp_path, config) as supervisor:
        wait_for("all run", lambda: states(supervisor) == {"RUNNING": FILES}, 120)
        pids = [filemap["pid"] for filemap in supervisor.status()["filemaps"]]
        wait_at_rest(*pids)
        before = wakes(*pids)
        with traced(pids[0], tmp_path) as idle, traced(supervisor.process.pid, tmp_path) as trace:
            wait_for("new processes were seen", lambda: sweeps(trace) > SETTLING)
            first, calls = sweeps(trace), trace.calls()
            wait_for("the supervisor has swept", lambda: sweeps(trace) >= first + SWEEPS)
            made, calls = sweeps(trace) - first, trace.calls() - calls
            assert idle.calls() == {}
        assert wakes(*pids[1:]) == before[1:]
        assert calls.total() <= (made + 1) * (FIXED + FILES / 10), (made, calls)


def states(supervisor: Running) -> Counter[str]:
    """Return how many files are in each state."""
    return Counter(filemap["state"] for filemap in supervisor.status()["filemaps"])
