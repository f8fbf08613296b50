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
    """A scanner and what it answered."""

    def __init__(self) -> None:
        self.watches = InotifyWatches()
        self.children = ChildReaper()
        self.answers: list[ScanResult] = []
        self.scanner = Scanner(self.watches, self.children, lambda _directory, one: self.answers.append(one))

    def until(self, condition: Callable[[], object]) -> None:
        """Take in what scans tell until a condition holds."""
        until = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < until
            self.scanner.read(0.05)
            self.children.reap()

    def scan(self, directory: Directory, followed: object = frozenset()) -> ScanResult:
        """Return what a scan answers."""
        self.scanner.begin(directory, followed)  # type: ignore[arg-type] # what only `in` is used of
        self.until(lambda: self.answers)
        return self.answers.pop()


class Signalled:
    """The paths that are followed: a scan that asks for one gets a signal."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def __contains__(self, _path: object) -> bool:
        os.kill(os.getpid(), self._number)
        return False


@pytest.fixture
def scans() -> Iterator[Scans]:
    """One for each test."""
    made = Scans()
    yield made
    made.scanner.close()
    made.watches.close()


def directory(path: Path) -> Directory:
    """Return a directory whose folders are looked into."""
    return Directory(path=str(path), include=("*.img",), recursive=True)


def test_files_and_folders(scans: Scans, tmp_path: Path) -> None:
    """Names of any bytes are found; what happens in a folder is told from before it was read, also while the answer
    is on its way."""
    below = tmp_path / "below"
    below.mkdir()
    odd = os.fsdecode(bytes(below) + b"/\xff\n.img")
    Path(odd).touch()
    answer = scans.scan(directory(tmp_path))
    found = tmp_path.stat()
    assert (answer.scan, answer.identity) == (Scan((odd,)), (found.st_dev, found.st_ino))
    (below / "new.img").touch()
    assert scans.watches.read().folders == [FolderEvent("", "new.img")]
    assert [folder for folder, _ in answer.folders] == [str(tmp_path), str(below)]
    for folder, wd in answer.folders:
        scans.watches.add_folder(folder, wd)
    (below / "new.img").unlink()
    assert scans.watches.read().folders == [FolderEvent(str(below), "new.img")]


def test_no_directory(scans: Scans, tmp_path: Path) -> None:
    """What is not there has no identity and no folders."""
    answer = scans.scan(directory(tmp_path / "none"))
    assert (answer.identity, answer.folders, answer.scan.files) == (None, (), ())
    assert answer.scan.reason is not None
    assert answer.scan.reason.endswith("No such file or directory")


def test_one_that_was_stopped_goes_on(scans: Scans, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is waited for no longer than others are to wait, told of once, and had go on."""
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
        return bool(scans.answers)

    scans.until(goes_on)
    assert scans.answers.pop().scan == Scan((str(file),))
    told = [
        f"directory {tmp_path}: {what}" for what in ("does not respond: waiting for it", "responds again")
    ]
    assert caplog.messages == told
    assert not scans.scanner.running()


def test_a_busy_loop_is_no_scan_that_takes_long(
    scans: Scans, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has answered since, while nobody had time for it, is not told of."""
    scans.scanner.begin(directory(tmp_path), frozenset())
    (pid,) = scans.children._callbacks
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    scans.scanner.check_overdue(time.monotonic() + 60)
    (answer,) = scans.answers
    assert answer.scan == Scan(())
    assert not caplog.messages


def test_one_that_is_killed(scans: Scans, tmp_path: Path) -> None:
    """It found nothing, which is a reason to drop nothing; the next one does."""
    file = tmp_path / "a.img"
    file.touch()
    answer = scans.scan(directory(tmp_path), Signalled(signal.SIGKILL))
    assert answer == ScanResult(Scan((), reason="the scan did not end"))
    assert scans.scan(directory(tmp_path)).scan == Scan((str(file),))


def test_no_descriptor_to_be_had(scans: Scans, tmp_path: Path) -> None:
    """A scan that can't be begun is answered at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        scans.scanner.begin(directory(tmp_path), ())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert scans.answers == [ScanResult(Scan((), reason="can't be scanned: Too many open files"))]
    assert not scans.scanner.running()


def test_none_is_left(tmp_path: Path) -> None:
    """Who ends waits for no scan, and leaves none."""
    (tmp_path / "a.img").touch()
    scans = Scans()
    scans.scanner.begin(directory(tmp_path), Signalled(signal.SIGSTOP))
    (pid,) = (running.pid for running in scans.scanner._running.values())
    assert pid is not None
    scans.scanner.close()
    scans.watches.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
