"""Scans of directories, each in a process of its own, so that a hanging disk or server blocks nothing else.

There is one scan of each directory at most: no signal ends a process in D state.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Container
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from supervisor.config.models import Directory
from supervisor.discovery.selection import Scan, scan
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.fork import fork
from workers.inotify_watches import InotifyWatches

_log = logging.getLogger("filemapd.supervisor")

Identity = tuple[int, int]

PATIENCE: Final = 2.0
"""Seconds that other results wait for a scan at most."""
_SILENT: Final = 10.0


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The result of a scan."""

    scan: Scan
    identity: Identity | None = None
    """Device and inode at the directory's path before the scan; None where these are unknown."""
    folders: tuple[tuple[str, int], ...] = ()
    """The folders that were read, and their watch numbers (InotifyWatches.add_folder): watched first, then read."""
    cpu_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Running:
    """A running scan. `pid` is None once its process has ended."""

    directory: Directory
    pid: int | None
    pipe: int
    began: float
    text: bytearray = field(default_factory=bytearray)
    overdue_logged: bool = False

    def ended(self, _status: int) -> None:
        self.pid = None


class Scanner:
    """The running scans. `finished` is called with each result, from begin(), read() or check_overdue()."""

    def __init__(
        self,
        watches: InotifyWatches,
        children: ChildReaper,
        finished: Callable[[Directory, ScanResult], None],
    ) -> None:
        self._watches = watches
        self._children = children
        self._finished = finished
        self._pipes = selectors.EpollSelector()
        self._running: dict[str, _Running] = {}

    def fileno(self) -> int:
        """Return the descriptor that is readable when read() has something to do."""
        return self._pipes.fileno()

    def running(self) -> AbstractSet[str]:
        """Return the paths of the directories that are being scanned."""
        return self._running.keys()

    def pending(self, now: float) -> bool:
        """Return whether other results should wait for a running scan."""
        return any(now - running.began < PATIENCE for running in self._running.values())

    def begin(self, directory: Directory, followed: Container[str]) -> None:
        """Start selection.scan() of a directory that is not being scanned."""
        read = -1
        try:
            read, write = os.pipe2(os.O_CLOEXEC)
            try:
                kept = {write, self._watches.fileno()}
                pid = fork(kept, partial(_scan_process, write, self._watches, directory, followed))
            finally:
                os.close(write)
        except OSError as error:
            if read >= 0:
                os.close(read)
            self._finished(directory, ScanResult(Scan((), reason=f"can't be scanned: {error.strerror}")))
            return
        running = self._running[directory.path] = _Running(directory, pid, read, time.monotonic())
        self._children.register(pid, running.ended)
        os.set_blocking(read, False)
        self._pipes.register(read, selectors.EVENT_READ, running)

    def read(self, seconds: float = 0.0) -> None:
        """Read what scans have sent; wait `seconds` at most if there is nothing."""
        for key, _ in self._pipes.select(seconds):
            running: _Running = key.data
            with suppress(BlockingIOError):
                while chunk := os.read(running.pipe, 1 << 20):
                    running.text += chunk
                self._end(running)

    def _end(self, running: _Running) -> None:
        self._pipes.unregister(running.pipe)
        os.close(running.pipe)
        del self._running[running.directory.path]
        if running.overdue_logged:
            _log.info("directory %s: responds again", running.directory.path)
        self._finished(running.directory, parse_result(bytes(running.text)))

    def check_overdue(self, now: float) -> None:
        """Log a long scan once, and continue one that was stopped by a signal."""
        self.read()  # the event loop may have had no time so far
        for running in self._running.values():
            if now - running.began < _SILENT:
                continue
            if not running.overdue_logged:
                running.overdue_logged = True
                _log.warning("directory %s: does not respond: waiting for it", running.directory.path)
            if running.pid is not None:
                os.kill(running.pid, signal.SIGCONT)

    def close(self) -> None:
        """Abandon the running scans: they end when their disks respond."""
        for running in self._running.values():
            if running.pid is not None:
                os.kill(running.pid, signal.SIGKILL)
            os.close(running.pipe)
        self._pipes.close()


def _scan_process(write: int, watches: InotifyWatches, directory: Directory, followed: Container[str]) -> int:
    """Scan a directory and write the result of run_scan()."""
    text = run_scan(watches, directory, followed)
    with open(write, "wb") as file:
        file.write(text)
    return 0


def run_scan(watches: InotifyWatches, directory: Directory, followed: Container[str]) -> bytes:
    """Scan a directory and return the result for parse_result()."""
    began = time.process_time()
    folders: list[tuple[str, int]] = []

    def enter(folder: str) -> None:
        wd = watches.watch_folder(folder)
        if wd is not None:
            folders.append((folder, wd))

    # Before the scan: a mount in the meantime then shows as another directory.
    identity = _identity(directory.path)
    found = scan(directory, followed, enter)
    result = [found.files, found.truncated, found.reason, identity, folders, time.process_time() - began]
    return json.dumps(result).encode()


def parse_result(text: bytes) -> ScanResult:
    """Return the result that a process wrote; the text is cut short if it was killed."""
    try:
        files, truncated, reason, identity, folders, seconds = json.loads(text)
    except ValueError:
        return ScanResult(Scan((), reason="the scan did not end"))
    return ScanResult(
        Scan(tuple(files), truncated, reason),
        None if identity is None else (identity[0], identity[1]),
        tuple((folder, wd) for folder, wd in folders),
        seconds,
    )


def _identity(path: str) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
