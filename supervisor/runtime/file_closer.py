"""Closes deleted files in processes of their own: the last close frees the file's blocks, and waits for the disk.

There is one such process for each file system at most: no signal ends a process in D state.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Final

from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.fork import fork
from supervisor.runtime.timers import Timers

_log = logging.getLogger("filemapd.supervisor")

_RETRY: Final = 1.0
_SILENT: Final = 10.0


class FileCloser:
    """The descriptors to close, by st_dev, and the processes that are closing."""

    def __init__(self, timers: Timers, children: ChildReaper) -> None:
        self._timers = timers
        self._children = children
        self._pending: defaultdict[int, list[int]] = defaultdict(list)
        self._busy: dict[int, int | None] = {}

    def close(self, fd: int) -> None:
        """Close a descriptor: at once where the file has a name, which needs no disk."""
        try:
            status = os.fstat(fd)
        except OSError:  # a file system that was shut down
            os.close(fd)
            return
        if status.st_nlink:
            os.close(fd)
            return
        self._pending[status.st_dev].append(fd)
        self._begin(status.st_dev)

    def close_all(self) -> None:
        """Close all remaining descriptors in new processes."""
        for fds in self._pending.values():
            with contextlib.suppress(OSError):  # no process available: this process closes them by its exit
                _hand_over(fds)
        self._pending.clear()

    def _begin(self, dev: int) -> None:
        if dev in self._busy or dev not in self._pending:
            return
        try:
            pid = _hand_over(self._pending[dev])
        except OSError as error:
            _log.warning("deleted files are not closed for now: %s", error)
            self._busy[dev] = None
            self._timers.at(time.monotonic() + _RETRY, partial(self._ended, dev, 0))
        else:
            self._busy[dev] = pid
            del self._pending[dev]
            self._children.register(pid, partial(self._ended, dev))
            self._check_stopped(dev, pid)

    def _check_stopped(self, dev: int, pid: int) -> None:
        """Continue a process that was stopped by a signal."""
        if self._busy.get(dev) == pid:
            os.kill(pid, signal.SIGCONT)
            self._timers.at(time.monotonic() + _SILENT, partial(self._check_stopped, dev, pid))

    def _ended(self, dev: int, _status: int) -> None:
        del self._busy[dev]
        self._begin(dev)


def _hand_over(fds: Sequence[int]) -> int:
    """Make a child the last to close descriptors, and return its pid. Raises OSError."""
    ours_gone, ours = os.pipe2(os.O_CLOEXEC)
    try:
        pid = fork((ours_gone, *fds), partial(_wait, ours_gone))
        for fd in fds:
            os.close(fd)
    finally:
        os.close(ours)
        os.close(ours_gone)
    return pid


def _wait(ours_gone: int) -> int:
    """Wait until the descriptors of the supervisor are closed; the end of this process closes its own."""
    os.read(ours_gone, 1)
    return 0
