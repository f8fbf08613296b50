"""What is to be done later, for a loop that waits in one place."""

from __future__ import annotations

import heapq
import itertools
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

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Have `action` done at `when`."""
        timer = Timer(when, next(self._order), action)
        heapq.heappush(self._heap, timer)
        return timer

    def run(self, now: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0].when <= now:
            action = heapq.heappop(self._heap).action
            if action is not None:
                action()

    def next_due(self) -> float | None:
        """Return when the next is due, None where there is none."""
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
        return self._heap[0].when if self._heap else None
