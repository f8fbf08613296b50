"""Timers for the event loop."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Timer:
    """One action at `when` (seconds, monotonic)."""

    when: float
    order: int
    action: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Cancel the action."""
        self.action = None


class Timers:
    """All timers."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._order = itertools.count()
        self._latest = 0.0
        self.as_of = 0.0
        """The time (monotonic) up to which descriptors were handled before timers ran: later responses are not seen
        yet."""

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Call `action` at `when`."""
        timer = Timer(when, next(self._order), action)
        heapq.heappush(self._heap, timer)
        return timer

    def run(self, now: float) -> None:
        """Run the timers that are due."""
        while self._heap and self._heap[0].when <= now:
            timer = heapq.heappop(self._heap)
            if timer.action is not None:
                self._latest = max(self._latest, time.monotonic() - timer.when)
                timer.action()

    def take_lag(self) -> float:
        """Return the maximum delay of a timer, in seconds, since the last call."""
        lag, self._latest = self._latest, 0.0
        return lag

    def next_due(self) -> float | None:
        """Return when the next timer is due, None without timers."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
        return self._heap[0].when if self._heap else None
