"""What is to be done later, for a loop that waits in one place."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Timer:
    """One thing to do at `when` (seconds, monotonic)."""

    when: float
    order: int
    action: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Have it not be done."""
        self.action = None


class Timers:
    """All that is to be done later."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._latest = 0.0
        self.as_of = 0.0
        """All that had come by then (monotonic) has been seen to before what is due is done: who owed an answer may
        have given it since."""

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Have `action` done at `when`."""
        timer = Timer(when, next(self._order), action)
        heapq.heappush(self._heap, timer)
        return timer

    def run(self, now: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0].when <= now:
            timer = heapq.heappop(self._heap)
            if timer.action is not None:
                self._latest = max(self._latest, time.monotonic() - timer.when)
                timer.action()

    def take_lag(self) -> float:
        """Return by how many seconds something was done too late at most, since this was asked last."""
        lag, self._latest = self._latest, 0.0
        return lag

    def next_due(self) -> float | None:
        """Return when the next is due, None where there is none."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
        return self._heap[0].when if self._heap else None
