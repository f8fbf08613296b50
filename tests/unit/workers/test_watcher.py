"""Which files are to be looked at, by real inotify events; the time is passed in."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from workers.inotify_watches import FolderEvent
from workers.watcher import SWEEP, FileWatcher


@pytest.fixture
def watch() -> Iterator[FileWatcher]:
    """A watch of its own for each test."""
    made = FileWatcher()
    with closing(made.watches):
        yield made


def turn(watch: FileWatcher, now: float) -> list[str]:
    """Take in what happened and have a look at all files whose turn it is, which finds nothing; return their keys."""
    watch.read_events(now)
    keys = [key for key, _ in watch.start_due(now)]
    for key in keys:
        watch.finished(key, now, changed=False, landing=False, joinable=False)
    return keys


def test_one_that_is_written_all_the_time(watch: FileWatcher, tmp_path: Path) -> None:
    """Its events are waited with, and it is compared often meanwhile; what the comparison finds is looked at soon. A
    file that is left alone is not compared, nor is one that is not watched any more."""
    file, other = tmp_path / "written", tmp_path / "quiet"
    opened = {}
    for one in (file, other):
        one.write_bytes(b"x")
        opened[one.name] = os.open(one, os.O_PATH)
        watch.add(one.name, opened[one.name], None)
    now = 1000.0
    for _ in range(12):
        with file.open("r+b") as written:
            written.write(b"y")
        turn(watch, now)
        now += 0.5
    other.write_bytes(b"more")
    assert watch.sweep_busy(now) < SWEEP / 2
    assert turn(watch, now) == ["quiet"], "its event tells of it; it is not compared"
    file.write_bytes(b"more")
    assert turn(watch, now) == [], "its event is waited with"
    watch.sweep_busy(now)
    now += 0.5
    assert turn(watch, now) == ["written"]
    for key, fd in opened.items():
        watch.remove(key)
        os.close(fd)
    assert watch.sweep_busy(now) == SWEEP / 2


def test_more_events_than_the_kernel_keeps(watch: FileWatcher, tmp_path: Path) -> None:
    """Where some were lost all files are looked at, and all folders counted as changed."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for name in ("a", "b"):
        (tmp_path / name).touch()
        watch.add(name, None, str(tmp_path / name))
    turn(watch, 1000.0)  # files that come to be are events, too
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch()
    for _ in range(most // 4 + 1):  # each rename is told as two events
        one.rename(two)
        two.rename(one)
    told = watch.read_events(1001.0)
    assert told[-1] == FolderEvent(str(tmp_path), "")
    assert sorted(key for key, _ in watch.start_due(1002.0)) == ["a", "b"]


def test_what_happened_as_it_was_forgotten(watch: FileWatcher, tmp_path: Path) -> None:
    """An event of a file that is not watched any more is nobody's."""
    file = tmp_path / "file"
    file.touch()
    with file.open("rb") as opened:
        watch.add("file", opened.fileno(), None)
        file.write_bytes(b"x")
        watch.remove("file")
        assert turn(watch, 1000.0) == []
        watch.mark_changed("file", 1000.0)
        watch.finished("file", 1000.0, changed=False, landing=False, joinable=False)
        assert turn(watch, 1001.0) == []


def test_without_inotify(tmp_path: Path) -> None:
    """Where there is no instance to be had the sweep finds what changed: that the file's time did, is an event."""
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with file.open("r+b") as opened:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            watch = FileWatcher()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert watch.watches.missing
        assert watch.watches.fileno() == -1
        assert watch.watches.watch_folder(str(tmp_path)) is None
        watch.add("file", opened.fileno(), None)
        watch.sweep(1000.0)
        assert turn(watch, 1001.0) == []
        opened.write(b"y")
        opened.flush()
        os.utime(file)
        watch.sweep(1002.0)
        assert turn(watch, 1004.0) == ["file"]
        watch.watches.close()
