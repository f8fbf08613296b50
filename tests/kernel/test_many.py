"""A host with many images: 1,000 workers under one supervisor, with default sysctls."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox.devices import Filesystem, filesystem
from supervisor.control.client import call
from tests.kernel import oracle
from tests.kernel.running import Running, running, wait_for, write

MANY = 1000
# The pause between two requests, as the status of 1,000 files takes the guest's one CPU for a while.
PAUSE = 5.0
# As in supervisor.fleet: how many workers map their files for the first time at once.
STARTING_AT_ONCE = 16


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system with room for all files."""
    with filesystem("ext4", size_mb=600) as made:
        yield made


@pytest.fixture
def short_queue() -> Iterator[None]:
    """Shorten the queue of new inotify instances, so that it overflows: files miss events."""
    queue = Path("/proc/sys/fs/inotify/max_queued_events")
    usual = queue.read_text()
    queue.write_text("16")
    yield
    queue.write_text(usual)


def files_of(supervisor: Running) -> list[dict[str, Any]]:
    """Return the status of all files. Every request gets a response."""
    status = call(supervisor.runtime_dir, "GET", "/v1/status", timeout=300)
    return list(status["filemaps"])


def states(supervisor: Running) -> Counter[str]:
    """Return how many files are in each state. Fail if more than allowed are mapped for the first time."""
    files = files_of(supervisor)
    with_process = [f for f in files if f["state"] == "STARTING" and f["pid"] is not None]
    assert len(with_process) <= STARTING_AT_ONCE
    return Counter(f["state"] for f in files)


def all_running(supervisor: Running, count: int, deadline: float) -> None:
    """Wait until `count` files, and no others, are RUNNING."""

    def there() -> bool:
        now = states(supervisor)
        assert now == {"RUNNING": count}, now
        return True

    wait_for(f"{count} files are RUNNING", there, deadline, PAUSE)


def exact(file: Path, device: str) -> bool:
    """Return whether the file's group covers it exactly."""
    oracle.assert_exact_cover(file, device)
    return True


def switches(pid: int) -> int:
    """Return a process's number of context switches."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)


def all_covered(supervisor: Running, device: str, count: int) -> None:
    """Wait until `count` files are RUNNING, and check that each has a group and there are no other
    regions."""
    all_running(supervisor, count, 600)

    def just_theirs() -> bool:
        assert sorted(oracle.groups(device)) == sorted(f["group_id"] for f in files_of(supervisor))
        return True

    wait_for("there are just the files' groups", just_theirs, 60, PAUSE)
    oracle.assert_no_orphan(device)


def at_rest(supervisor: Running, pids: Collection[int]) -> bool:
    """Return whether no worker got the CPU while the supervisor did several times."""
    before, turns = {pid: switches(pid) for pid in pids}, switches(supervisor.process.pid)
    wait_for("the supervisor runs", lambda: switches(supervisor.process.pid) > turns + 20)
    return before == {pid: switches(pid) for pid in pids}


@pytest.mark.usefixtures("short_queue")
@pytest.mark.timeout(1800)
def test_a_thousand_files(fs: Filesystem, tmp_path: Path) -> None:
    """Half of the files exist at the start, half appear at once later. All are followed. At rest no worker
    gets the CPU. After kill -9 of a hundred at once all are RUNNING again with their groups. Deleted files
    are dropped, and stop ends all workers."""
    assert Path("/proc/sys/fs/inotify/max_user_instances").read_text().strip() == "128"
    there, aside, later = (fs.mountpoint / name for name in ("there", "aside", "later"))
    for folder in (there, aside, later):
        folder.mkdir()
    for number in range(MANY):
        ((there, aside)[number % 2] / f"vm{number:04}.img").write_bytes(b"x" * 65536)
    os.sync()
    config = {
        "directories": [{"path": str(there)}, {"path": str(later), "mode": "path"}],
        "devices": {"max_regions": 20000},
    }
    device = fs.device.name
    with running(tmp_path, config) as supervisor:
        wait_for("the supervisor responds", lambda: "version" in supervisor.status(), 60, PAUSE)
        all_running(supervisor, MANY // 2, 600)
        ended = f"started: all {MANY // 2} files after"
        wait_for("its end is logged", lambda: ended in supervisor.log.read_text())
        assert "starting: " in supervisor.log.read_text(), "a long start is logged"

        supervisor.process.send_signal(signal.SIGSTOP)
        for file in sorted(aside.iterdir()):
            file.rename(later / file.name)
        supervisor.process.send_signal(signal.SIGCONT)
        all_covered(supervisor, device, MANY)
        pids = [f["pid"] for f in files_of(supervisor)]
        assert {psutil.Process(pid).ppid() for pid in pids} == {supervisor.process.pid}

        chosen = random.Random(1).sample([*there.iterdir(), *later.iterdir()], 10)
        for file in chosen:
            write(file, 1, at=1)
        for file in chosen:
            wait_for(f"{file.name} is followed", partial(exact, file, device))
        wait_for("idle workers are left alone", lambda: at_rest(supervisor, pids), 300)

        groups = {f["path"]: f["group_id"] for f in files_of(supervisor)}
        for pid in pids[:100]:
            os.kill(pid, signal.SIGKILL)
        wait_for(
            "a hundred have restarted",
            lambda: sum(f["restarts"] for f in files_of(supervisor)) == 100,
            300,
            PAUSE,
        )
        all_covered(supervisor, device, MANY)
        assert groups == {f["path"]: f["group_id"] for f in files_of(supervisor)}

        left = MANY // 2 + 1
        for file in sorted(later.iterdir())[1:]:
            file.unlink()
        all_covered(supervisor, device, left)
        pids = [f["pid"] for f in files_of(supervisor)]
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.process.wait(120) == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
