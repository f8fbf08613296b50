"""Scans of directories, in real processes."""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.config.models import Directory
from supervisor.discovery.scanner import Scanner, ScanResult
from supervisor.discovery.selection import Scan
from supervisor.runtime.child_reaper import ChildReaper
from workers.inotify_watches import FolderEvent, InotifyWatches

DEADLINE = 60.0


class Scans:
    """A scanner and its results."""

    def __init__(self) -> None:
        self.watches = InotifyWatches()
        self.children = ChildReaper()
        self.results: list[ScanResult] = []
        self.scanner = Scanner(self.watches, self.children, lambda _directory, one: self.results.append(one))

    def until(self, condition: Callable[[], object]) -> None:
        """Handle scan results until a condition holds."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < until
            self.scanner.read(0.05)
            self.children.reap()

    def scan(self, directory: Directory, followed: object = frozenset()) -> ScanResult:
        """Return the result of a scan."""
        self.scanner.begin(directory, followed)  # type: ignore[arg-type] # only `in` is used
        self.until(lambda: self.results)
        return self.results.pop()


class Signalled:
    """The followed paths: a scan process that checks one gets a signal."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __contains__(self, _path: object) -> bool:
        os.kill(os.getpid(), self._number)
        return False


@pytest.fixture
def scans() -> Iterator[Scans]:
    """A scanner for each test."""
    made = Scans()
    yield made
    made.scanner.close()
    made.watches.close()


def directory(path: Path) -> Directory:
    """Return a recursive directory."""
    return Directory(path=str(path), include=("*.img",), recursive=True)


def test_files_and_folders(scans: Scans, tmp_path: Path) -> None:
    """Names of any bytes are found. A folder's changes are noticed from before it was read, also while the
    result is in transit."""
    below = tmp_path / "below"
    below.mkdir()
    odd = os.fsdecode(bytes(below) + b"/\xff\n.img")
    Path(odd).touch()
    result = scans.scan(directory(tmp_path))
    found = tmp_path.stat()
    assert (result.scan, result.identity) == (Scan((odd,)), (found.st_dev, found.st_ino))
    (below / "new.img").touch()
    assert scans.watches.read().folders == [FolderEvent("", "new.img")]
    assert [folder for folder, _ in result.folders] == [str(tmp_path), str(below)]
    for folder, wd in result.folders:
        scans.watches.add_folder(folder, wd)
    (below / "new.img").unlink()
    assert scans.watches.read().folders == [FolderEvent(str(below), "new.img")]


def test_no_directory(scans: Scans, tmp_path: Path) -> None:
    """A missing directory has no identity and no folders."""
    result = scans.scan(directory(tmp_path / "none"))
    assert (result.identity, result.folders, result.scan.files) == (None, (), ())
    assert result.scan.reason is not None
    assert result.scan.reason.endswith("No such file or directory")


def test_one_that_was_stopped_goes_on(scans: Scans, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A stopped scan is waited for up to the limit, logged once, and continued."""
    caplog.set_level(logging.INFO, "filemapd.supervisor")
    file = tmp_path / "a.img"
    file.touch()
    now = time.monotonic()
    scans.scanner.begin(directory(tmp_path), Signalled(signal.SIGSTOP))
    assert scans.scanner.running() == {str(tmp_path)}
    assert scans.scanner.pending(now)
    assert not scans.scanner.pending(now + 60)
    scans.scanner.check_overdue(now)
    assert not caplog.messages

    def goes_on() -> bool:
        scans.scanner.check_overdue(now + 60)
        return bool(scans.results)

    scans.until(goes_on)
    assert scans.results.pop().scan == Scan((str(file),))
    logged = [
        f"directory {tmp_path}: {what}" for what in ("does not respond: waiting for it", "responds again")
    ]
    assert caplog.messages == logged
    assert not scans.scanner.running()


def test_a_busy_loop_is_no_slow_scan(scans: Scans, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A scan that responded while the loop was busy is not logged."""
    scans.scanner.begin(directory(tmp_path), frozenset())
    (pid,) = scans.children._callbacks
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    scans.scanner.check_overdue(time.monotonic() + 60)
    (result,) = scans.results
    assert result.scan == Scan(())
    assert not caplog.messages


def test_one_that_is_killed(scans: Scans, tmp_path: Path) -> None:
    """A killed scan finds nothing, so nothing is dropped; the next one succeeds."""
    file = tmp_path / "a.img"
    file.touch()
    result = scans.scan(directory(tmp_path), Signalled(signal.SIGKILL))
    assert result == ScanResult(Scan((), reason="the scan did not end"))
    assert scans.scan(directory(tmp_path)).scan == Scan((str(file),))


def test_out_of_descriptors(scans: Scans, tmp_path: Path) -> None:
    """A scan that can't be started ends at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        scans.scanner.begin(directory(tmp_path), ())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert scans.results == [ScanResult(Scan((), reason="can't be scanned: Too many open files"))]
    assert not scans.scanner.running()


def test_none_is_left(tmp_path: Path) -> None:
    """close() doesn't wait for scans, and leaves none."""
    (tmp_path / "a.img").touch()
    scans = Scans()
    scans.scanner.begin(directory(tmp_path), Signalled(signal.SIGSTOP))
    (pid,) = (running.pid for running in scans.scanner._running.values())
    assert pid is not None
    scans.scanner.close()
    scans.watches.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
