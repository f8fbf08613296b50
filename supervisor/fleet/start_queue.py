"""The queue of workers to start: not too many at once, and never a long turn of the event loop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from supervisor.fleet.filemap import Filemap
from supervisor.fleet.state_machine import State
from supervisor.runtime.timers import Timers

# Workers that map their file for the first time at the same time: each create drains the device.
_STARTING_AT_ONCE: Final = 16
# Seconds. A turn of the loop that starts workers takes no longer, so that requests for the status are served between.
_LONGEST_TURN: Final = 0.05


class StartQueue:
    """`start` starts one worker and returns whether that worked; where it did not, the queue pauses."""

    def __init__(self, timers: Timers, start: Callable[[Filemap], bool]) -> None:
        self._timers = timers
        self._start = start
        self._queue: deque[Filemap] = deque()
        self._starting: set[Filemap] = set()
        self._is_scheduled = False

    def add(self, filemap: Filemap) -> None:
        """Start a worker in a later turn of the loop."""
        self._queue.append(filemap)
        self._schedule()

    def remove(self, filemap: Filemap) -> None:
        """Don't start the worker of a file that may be in the queue."""
        if filemap in self._queue:
            self._queue.remove(filemap)

    def started(self, filemap: Filemap) -> None:
        """Note that a worker has left STARTING: another may start."""
        self._starting.discard(filemap)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._timers.at(time.monotonic(), self._start_some)

    def _start_some(self) -> None:
        self._is_scheduled = False
        until = time.monotonic() + _LONGEST_TURN
        while self._queue and len(self._starting) < _STARTING_AT_ONCE:
            filemap = self._queue.popleft()
            if filemap.record.state is not State.STARTING or filemap.child is not None:
                continue
            if not self._start(filemap):
                return
            self._starting.add(filemap)
            if time.monotonic() > until:
                self._schedule()
                return
