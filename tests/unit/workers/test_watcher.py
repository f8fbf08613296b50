"""Which files are to be reconciled, by real inotify events; the time is passed in."""

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
    """A watcher for each test."""
    made = FileWatcher()
    with closing(made.watches):
        yield made


def turn(watch: FileWatcher, now: float) -> list[str]:
    """Handle pending events and reconcile all due files, without changes; return their keys."""
    watch.read_events(now)
    keys = [key for key, _ in watch.start_due(now)]
    for key in keys:
        watch.finished(key, now, changed=False, landing=False, joinable=False)
    return keys


def test_one_that_is_written_all_the_time(watch: FileWatcher, tmp_path: Path) -> None:
    """Its events are delayed, and it is compared often meanwhile; a difference is reconciled soon. An idle
    file isn't compared, nor is one that is no longer watched."""
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
    assert turn(watch, now) == ["quiet"], "it has an event and is not compared"
    file.write_bytes(b"more")
    assert turn(watch, now) == [], "its event is delayed"
    watch.sweep_busy(now)
    now += 0.5
    assert turn(watch, now) == ["written"]
    for key, fd in opened.items():
        watch.remove(key)
        os.close(fd)
    assert watch.sweep_busy(now) == SWEEP / 2


def test_queue_overflow(watch: FileWatcher, tmp_path: Path) -> None:
    """After an overflow all files are reconciled, and all folders count as changed."""
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for name in ("a", "b"):
        (tmp_path / name).touch()
        watch.add(name, None, str(tmp_path / name))
    turn(watch, 1000.0)  # creating files causes events, too
    one, two = tmp_path / "one", tmp_path / "two"
    one.touch()
    for _ in range(most // 4 + 1):  # each rename is two events
        one.rename(two)
        two.rename(one)
    events = watch.read_events(1001.0)
    assert events[-1] == FolderEvent(str(tmp_path), "")
    assert sorted(key for key, _ in watch.start_due(1002.0)) == ["a", "b"]


def test_events_of_unwatched_files(watch: FileWatcher, tmp_path: Path) -> None:
    """An event of a file that is no longer watched is ignored."""
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
    """Without an inotify instance the sweep finds changes: a changed timestamp counts as an event."""
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
