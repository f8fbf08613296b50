"""Deleted files are closed by separate, real processes."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.file_closer import FileCloser
from supervisor.runtime.timers import Timers

DEADLINE = 60.0


class Bench:
    """A closer in a minimal main loop."""

    def __init__(self) -> None:
        self.children = ChildReaper()
        self.timers = Timers()
        self.closer = FileCloser(self.timers, self.children)

    def until(self, condition: Callable[[], object], ahead: float = 0.0) -> None:
        """Run what is due, with the clock `ahead` seconds ahead, until a condition holds."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < until
            self.timers.run(time.monotonic() + ahead)
            self.children.reap()


@pytest.fixture
def bench() -> Bench:
    """A bench for each test."""
    return Bench()


def deleted(folder: Path) -> int:
    """Return a descriptor of a deleted file, as the supervisor holds it."""
    file = folder / "a.img"
    file.touch()
    fd = os.open(file, os.O_PATH | os.O_CLOEXEC)
    file.unlink()
    return fd


def is_open(fd: int) -> bool:
    """Return whether this process has the descriptor open."""
    return Path(f"/proc/self/fd/{fd}").is_symlink()


def test_a_file_that_has_a_name(bench: Bench, tmp_path: Path) -> None:
    """It is closed at once, without a process."""
    fd = os.open(tmp_path, os.O_PATH)
    bench.closer.close(fd)
    assert not is_open(fd)
    assert not bench.closer._busy


def test_deleted_ones(bench: Bench, tmp_path: Path) -> None:
    """Each file system has one closing process at a time; files that come meanwhile wait for the next one."""
    first, second = deleted(tmp_path), deleted(tmp_path)
    bench.closer.close(first)
    (pid,) = bench.closer._busy.values()
    bench.closer.close(second)
    assert not is_open(first)
    assert is_open(second)
    bench.until(lambda: not is_open(second))
    assert pid not in bench.closer._busy.values()
    bench.until(lambda: not bench.closer._busy)


def test_one_that_was_stopped_goes_on(bench: Bench, tmp_path: Path) -> None:
    """A stopped process is continued."""
    bench.closer.close(deleted(tmp_path))
    (pid,) = bench.closer._busy.values()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    bench.until(lambda: not bench.closer._busy, ahead=10.0)


def test_failed_fork(bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file stays open until a fork succeeds."""
    fd = deleted(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        bench.closer.close(fd)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "deleted files are not closed for now: [Errno 24] Too many open files" in caplog.text
    assert is_open(fd)
    bench.until(lambda: not is_open(fd))
    bench.until(lambda: not bench.closer._busy)


def test_the_end(bench: Bench, tmp_path: Path) -> None:
    """Files still waiting are not closed by this process's exit."""
    first, second = deleted(tmp_path), deleted(tmp_path)
    bench.closer.close(first)
    bench.closer.close(second)
    bench.closer.close_all()
    assert not is_open(second)
    bench.until(lambda: not bench.closer._busy)
