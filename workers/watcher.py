"""Watches the files of a process: inotify reports most changes, a sweep of stat(2) finds the rest.

Neither stores through mmap(2) nor the landing of delayed allocation raise an event: the sweep compares blocks and
size once a second.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from dmstats.device import Device
from workers.due_queue import DueQueue
from workers.inotify_watches import FolderEvent, InotifyWatches
from workers.pace import Pace
from workers.watched_file import Difference, WatchedFile

SWEEP: Final = 1.0
# Seconds. Files that are written all the time are compared more often, but no more than this many a second.
_BUSY_SWEEP: Final = 0.05
_BUSY_A_SECOND: Final = 500
# On a device without I/O a sweep compares one of this many files.
_RESTING: Final = 10


class FileWatcher:
    """The watched files of one process, by keys of the caller."""

    def __init__(self) -> None:
        self.watches = InotifyWatches()
        self._files: dict[str, WatchedFile] = {}
        self._by_path: dict[str, set[str]] = {}
        self._queue = DueQueue(self._due)
        # The files that may be throttled.
        self._busy: set[str] = set()
        self._io_texts: dict[int, str] = {}
        self._sweeps = 0

    def add(self, key: str, fd: int | None, path: str | None) -> None:
        """Watch the file open at `fd` (O_PATH is enough), and the name `path`.

        A file that was added before under the same key is replaced; its schedule stays.
        """
        known = self._files.get(key)
        self.remove(key)
        watched = self._files[key] = WatchedFile(fd, path, known.pace if known else Pace())
        if path is not None:
            self._by_path.setdefault(path, set()).add(key)
            self.watches.watch_cached_folder(os.path.dirname(path))
        watched.remember()
        if fd is not None:
            self.watches.watch_file(key, fd)
        self._queue.add(key)

    def remove(self, key: str) -> None:
        """Stop watching a file."""
        watched = self._files.pop(key, None)
        if watched is None:
            return
        self.watches.forget_file(key)
        if watched.path is not None:
            keys = self._by_path[watched.path]
            keys.discard(key)
            if not keys:
                del self._by_path[watched.path]

    def pace(self, key: str) -> Pace | None:
        """Return the schedule of a file."""
        watched = self._files.get(key)
        return watched.pace if watched else None

    def mark_changed(self, key: str, now: float) -> None:
        """Note a certain change of a file; see Pace.mark_changed()."""
        pace = self.pace(key)
        if pace is not None:
            pace.mark_changed(now)
            self._queue.add(key)

    def finished(self, key: str, now: float, *, changed: bool, landing: bool, joinable: bool) -> None:
        """Note that a reconcile has ended; see Pace.finished()."""
        pace = self.pace(key)
        if pace is not None:
            pace.finished(now, changed=changed, landing=landing, joinable=joinable)
            if pace.is_throttled(now):
                self._busy.add(key)
            self._queue.add(key)

    def read_events(self, now: float) -> list[FolderEvent]:
        """Read inotify's events; return those of folders."""
        events = self.watches.read()
        for key in events.keys:
            self._mark_event(key, now)
        changed: Iterable[str] = self._files
        if not events.overflow:
            paths = (os.path.join(event.folder, event.name) for event in events.folders if event.folder)
            changed = [key for path in paths for key in self._by_path.get(path, ())]
        for key in changed:
            self.mark_changed(key, now)
        return events.folders

    def sweep(self, now: float) -> None:
        """Compare every file with its status at the last reconcile.

        Blocks that a store through mmap(2) allocates are written to disk, and inotify reports everything else. So
        of the files on a device without I/O since the last sweep only a part is compared.
        """
        resting = self._idle_devices()
        self._sweeps += 1
        for at, (key, watched) in enumerate(self._files.items()):
            has_events = watched.path is None and self.watches.is_watched(key)
            on_resting = watched.file is not None and watched.file[0] in resting
            if has_events and on_resting and (at + self._sweeps) % _RESTING:
                continue
            self._compare(key, watched, now)

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

    def start_due(self, now: float) -> Iterator[tuple[str, bool]]:
        """Yield the files that are due, each with whether its regions may be joined.

        The watch is set again before the reconcile, so that later changes raise an event.
        """
        while (key := self._queue.pop(now)) is not None:
            watched = self._files[key]
            join = watched.pace.start(now)
            if watched.pace.is_throttled(now):
                self._busy.add(key)
            if watched.fd is not None:
                self.watches.watch_file(key, watched.fd)
            watched.remember()
            yield key, join

    def next_due(self) -> float | None:
        """Return when the next file is due, None without one."""
        return self._queue.next_due()

    def _due(self, key: str) -> float | None:
        pace = self.pace(key)
        return pace.due if pace is not None else None

    def _mark_event(self, key: str, now: float) -> None:
        self._files[key].pace.mark_event(now)
        self._queue.add(key)

    def _compare(self, key: str, watched: WatchedFile, now: float) -> None:
        difference = watched.compare()
        if difference is Difference.FILE:
            self.mark_changed(key, now)
        elif difference is Difference.TIME and self.watches.missing:
            self._mark_event(key, now)

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
