"""Watches the files of a process: one inotify instance, and one sweep of stat(2), for all of them.

inotify(7) reports writes, fallocate, truncation and changes of names, but neither stores through mmap(2) nor the
landing of delayed allocation: the sweep compares blocks and size once a second.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from inotify_simple import INotify, flags

from dmstats.device import Device
from workers import cached_stat
from workers.libc import open_cached
from workers.pace import Pace

SWEEP: Final = 1.0
# Seconds. Files that are written all the time are compared more often, but no more than this many a second.
_BUSY_SWEEP: Final = 0.05
_BUSY_A_SECOND: Final = 500
# On a device without I/O a sweep compares one of this many files.
_RESTING: Final = 10

# ONESHOT: a guest that writes all day causes no wake-ups between two reconciles. CLOSE_WRITE shows defragmentation.
_FILE_EVENTS: Final = (
    flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE | flags.MOVE_SELF | flags.DELETE_SELF | flags.ONESHOT
)
_FOLDER_EVENTS: Final = (
    flags.CREATE | flags.DELETE | flags.MOVED_TO | flags.MOVED_FROM | flags.ATTRIB | flags.ONLYDIR
)


@dataclass(slots=True)
class WatchedFile:
    """One file: `fd` is open on it, None while it is missing. `path` is set where the name matters."""

    fd: int | None
    path: str | None
    pace: Pace = field(default_factory=Pace)
    file: tuple[int, int] | None = None
    """Device and inode of the file at `fd`."""
    shape: tuple[int, ...] = ()
    changed_at: int = 0
    wd: int | None = None
    queued: float | None = None
    """The due time that is in the queue."""


@dataclass(frozen=True, slots=True)
class FolderEvent:
    """An event of `name` in a watched folder. An empty name: of any of its names; an empty folder: of one that is
    not known yet."""

    folder: str
    name: str


class FileWatcher:
    """The watched files of one process, by keys of the caller."""

    def __init__(self) -> None:
        self._files: dict[str, WatchedFile] = {}
        self._by_path: dict[str, set[str]] = {}
        # (due time, key), with entries that are out of date.
        self._queue_heap: list[tuple[float, str]] = []
        self._by_wd: dict[int, set[str]] = {}
        self._folders: dict[int, set[str]] = {}
        # The files that may be throttled.
        self._busy: set[str] = set()
        self._io_texts: dict[int, str] = {}
        self._sweeps = 0
        try:
            self._inotify: INotify | None = INotify(nonblocking=True)
        except OSError:
            self._inotify = None  # fs.inotify.max_user_instances is reached: the sweep replaces it

    @property
    def polling(self) -> bool:
        """Whether no inotify instance is available."""
        return self._inotify is None

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 without one."""
        return -1 if self._inotify is None else self._inotify.fileno()

    def add(self, key: str, fd: int | None, path: str | None) -> None:
        """Watch the file open at `fd` (O_PATH is enough), and the name `path`.

        A file that was added before under the same key is replaced; its schedule stays.
        """
        known = self._files.get(key)
        self.remove(key)
        watched = self._files[key] = WatchedFile(fd, path, known.pace if known else Pace())
        if path is not None:
            self._by_path.setdefault(path, set()).add(key)
            self._watch_cached_folder(os.path.dirname(path))
        self._remember(watched)
        self._arm(key, watched)
        self._enqueue(key, watched)

    def remove(self, key: str) -> None:
        """Stop watching a file."""
        watched = self._files.pop(key, None)
        if watched is None:
            return
        self._disarm(key, watched)
        if watched.path is not None:
            keys = self._by_path[watched.path]
            keys.discard(key)
            if not keys:
                del self._by_path[watched.path]

    def _watch_cached_folder(self, folder: str) -> None:
        """Watch the names in `folder`. The sweep covers a folder that is missing or not in the kernel's cache."""
        try:
            fd = open_cached(folder)
        except OSError:
            return
        wd = self.watch_folder(f"/proc/self/fd/{fd}")
        os.close(fd)
        if wd is not None:
            self.add_folder(folder, wd)

    def watch_folder(self, folder: str) -> int | None:
        """Watch the names in `folder`; return the watch number for add_folder(), None where the folder can't be
        watched.

        A child of this process may call it, as it may wait for a disk.
        """
        if self._inotify is None:
            return None
        try:
            return int(self._inotify.add_watch(folder, _FOLDER_EVENTS))
        except OSError:
            return None

    def add_folder(self, folder: str, wd: int) -> None:
        """Report events of names in `folder`, which is watched under the number `wd`."""
        self._folders.setdefault(wd, set()).add(folder)

    def pace(self, key: str) -> Pace | None:
        """Return the schedule of a file."""
        watched = self._files.get(key)
        return watched.pace if watched else None

    def mark_changed(self, key: str, now: float) -> None:
        """Note a certain change of a file; see Pace.mark_changed()."""
        watched = self._files.get(key)
        if watched is not None:
            watched.pace.mark_changed(now)
            self._enqueue(key, watched)

    def finished(self, key: str, now: float, *, changed: bool, landing: bool, joinable: bool) -> None:
        """Note that a reconcile has ended; see Pace.finished()."""
        watched = self._files.get(key)
        if watched is not None:
            watched.pace.finished(now, changed=changed, landing=landing, joinable=joinable)
            if watched.pace.is_throttled(now):
                self._busy.add(key)
            self._enqueue(key, watched)

    def read_events(self, now: float) -> list[FolderEvent]:
        """Read inotify's events; return those of folders."""
        folder_events: list[FolderEvent] = []
        for wd, mask, _, name in self._inotify.read(timeout=0) if self._inotify is not None else ():
            if mask & flags.Q_OVERFLOW:
                folder_events += self._overflow(now)
            elif wd in self._folders:
                folder_events += self._folder_events(wd, mask, name, now)
            elif name:
                folder_events.append(FolderEvent("", name))
            else:
                for key in self._by_wd.pop(wd, ()):
                    self._files[key].wd = None
                    self._files[key].pace.mark_event(now)
                    self._enqueue(key, self._files[key])
        return folder_events

    def sweep(self, now: float) -> None:
        """Compare every file with its status at the last reconcile.

        Blocks that a store through mmap(2) allocates are written to disk, and inotify reports everything else. So
        of the files on a device without I/O since the last sweep only a part is compared.
        """
        resting = self._idle_devices()
        self._sweeps += 1
        for at, (key, watched) in enumerate(self._files.items()):
            has_events = watched.wd is not None and watched.path is None
            if (
                has_events
                and watched.file is not None
                and watched.file[0] in resting
                and (at + self._sweeps) % _RESTING
            ):
                continue
            self._compare(key, watched, now)

    def _idle_devices(self) -> set[int]:
        """Return the devices that did no I/O since the last sweep."""
        before = self._io_texts
        self._io_texts = {}
        for dev in {watched.file[0] for watched in self._files.values() if watched.file is not None}:
            try:
                self._io_texts[dev] = Device(dev).io_text()
            except OSError:
                continue  # a file system without a block device of its own
        return {dev for dev, text in self._io_texts.items() if before.get(dev) == text}

    def sweep_busy(self, now: float) -> float:
        """Compare the files that are written all the time; return the seconds until the next call.

        The more such files, the later; above some number the sweep is enough.
        """
        known = ((key, self._files.get(key)) for key in self._busy)
        busy = {
            key: watched for key, watched in known if watched is not None and watched.pace.is_throttled(now)
        }
        self._busy = set(busy)
        interval = max(_BUSY_SWEEP, len(busy) / _BUSY_A_SECOND)
        if not busy or interval > SWEEP / 2:
            return SWEEP / 2
        for key, watched in busy.items():
            self._compare(key, watched, now)
        return interval

    def _compare(self, key: str, watched: WatchedFile, now: float) -> None:
        """Mark a file that has changed. It takes one system call."""
        try:
            status = _status(watched)
        except BlockingIOError:
            watched.pace.mark_changed(now)  # its worker may wait for the disk
            self._enqueue(key, watched)
            return
        if status is None or (status.st_dev, status.st_ino) != watched.file:
            if status is None and watched.file is None:
                return
            watched.pace.mark_changed(now)
        elif status.st_nlink == 0 or watched.shape != _shape(status):
            watched.pace.mark_changed(now)
        elif self._inotify is None and watched.changed_at != status.st_ctime_ns:
            watched.pace.mark_event(now)
        else:
            return
        self._enqueue(key, watched)

    def start_due(self, now: float) -> Iterator[tuple[str, bool]]:
        """Yield the files that are due, each with whether its regions may be joined.

        The watch is set again before the reconcile, so that later changes raise an event.
        """
        while (when := self.next_due()) is not None and when <= now:
            _, key = heapq.heappop(self._queue_heap)
            watched = self._files[key]
            watched.queued = None
            join = watched.pace.start(now)
            if watched.pace.is_throttled(now):
                self._busy.add(key)
            self._arm(key, watched)
            self._remember(watched)
            yield key, join

    def next_due(self) -> float | None:
        """Return when the next file is due, None without one."""
        while self._queue_heap:
            when, key = self._queue_heap[0]
            watched = self._files.get(key)
            if watched is not None and watched.queued == when and watched.pace.due == when:
                return when
            heapq.heappop(self._queue_heap)
        return None

    def _enqueue(self, key: str, watched: WatchedFile) -> None:
        if watched.pace.due is not None and watched.pace.due != watched.queued:
            watched.queued = watched.pace.due
            heapq.heappush(self._queue_heap, (watched.pace.due, key))

    def close(self) -> None:
        """Close the inotify instance."""
        if self._inotify is not None:
            self._inotify.close()

    def _arm(self, key: str, watched: WatchedFile) -> None:
        if self._inotify is None or watched.fd is None or watched.wd is not None:
            return
        try:
            watched.wd = self._inotify.add_watch(f"/proc/self/fd/{watched.fd}", _FILE_EVENTS)
        except OSError:
            return  # fs.inotify.max_user_watches is reached: the sweep covers this file
        self._by_wd.setdefault(watched.wd, set()).add(key)

    def _disarm(self, key: str, watched: WatchedFile) -> None:
        if watched.wd is None or self._inotify is None:
            return
        others = self._by_wd.get(watched.wd, set())
        others.discard(key)
        if not others:
            self._by_wd.pop(watched.wd, None)
            try:
                self._inotify.rm_watch(watched.wd)
            except OSError:
                return  # it has fired, and its event is not read yet

    def _remember(self, watched: WatchedFile) -> None:
        if watched.fd is not None:
            try:
                status = os.fstat(watched.fd)
            except OSError:
                return  # a file system that was shut down: the last status stays
            watched.file = status.st_dev, status.st_ino
            watched.shape, watched.changed_at = _shape(status), status.st_ctime_ns

    def _folder_events(self, wd: int, mask: int, name: str, now: float) -> Iterator[FolderEvent]:
        folders = self._folders.pop(wd) if mask & flags.IGNORED else self._folders[wd]
        for folder in folders:
            for key in self._by_path.get(os.path.join(folder, name), ()):
                self.mark_changed(key, now)
            yield FolderEvent(folder, "" if mask & flags.IGNORED else name)

    def _overflow(self, now: float) -> Iterator[FolderEvent]:
        for key in self._files:
            self.mark_changed(key, now)
        for folders in self._folders.values():
            for folder in folders:
                yield FolderEvent(folder, "")


def _status(watched: WatchedFile) -> os.stat_result | None:
    """Return the status of the path, where the name matters, else of the file; None for a missing file.

    Raises BlockingIOError where only the disk knows. stat(2) of an open file's name doesn't wait for the disk, as
    the kernel has the name in its cache.
    """
    if watched.fd is None:
        return cached_stat.stat(watched.path) if watched.path is not None else None
    try:
        return os.stat(watched.path) if watched.path is not None else os.fstat(watched.fd)
    except OSError:
        return None


def _shape(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_blocks, status.st_size, status.st_nlink
