"""When a file is looked at: at once after a quiet time, then at most twice a second, less where nothing comes of it.

Pure: times are seconds of a monotonic clock, passed in.
"""

from __future__ import annotations

from typing import Final

SHORTEST: Final = 0.5
LONGEST: Final = 10.0
# Delayed allocation lands without an event, so it is looked for.
LANDING: Final = 0.5
# Regions that could be one are made one when the file has not changed for so long.
QUIET: Final = 10.0


class Pace:
    """The turns of one file. `due` is when to look next, None while nothing is known to have happened."""

    __slots__ = ("_event", "_free_from", "_interval", "_join_at", "_last", "_since", "due", "event_at")

    def __init__(self) -> None:
        self.due: float | None = None
        self.event_at: float | None = None
        """When that happened for which the last look was begun."""
        self._since: float | None = None
        self._interval = SHORTEST
        self._event = False
        # From then on an event is acted on at once; one before waits for it.
        self._free_from = 0.0
        self._last = -SHORTEST
        self._join_at: float | None = None

    @property
    def since(self) -> float | None:
        """When that happened for which no look was begun yet; of a file that is written all the time it is when its
        turn comes, as that may lie ahead."""
        return self._since

    def mark_event(self, now: float) -> None:
        """Something was done to the file: it is looked at when its turn comes."""
        self._event = True
        turn = max(now, self._free_from)
        # Of a file that is written all the time, what its write changed is not known to have been the first.
        self._since = self._since or (now if self._interval == SHORTEST else turn)
        self._sooner(turn)

    def mark_changed(self, now: float) -> None:
        """Something is known to have changed: only the shortest interval holds the look back."""
        self._since = now
        self._interval = SHORTEST
        self._free_from = min(self._free_from, self._last + SHORTEST)
        self._sooner(max(now, self._free_from))

    def start(self, now: float) -> bool:
        """The look begins; return whether the regions may be joined in it."""
        if now > self._free_from + self._interval:
            self._interval = SHORTEST
        join = self._join_at is not None and now >= self._join_at
        self.event_at, self._since = self._since or now, None
        self.due = self._join_at = None
        self._last, self._free_from = now, now + self._interval
        return join

    def finished(self, now: float, *, changed: bool, landing: bool, joinable: bool) -> None:
        """The look has ended. Extents that are what they were although there was an event make the next turn
        later."""
        if changed:
            self._interval = SHORTEST
            self._free_from = min(self._free_from, self._last + SHORTEST)
        elif self._event:
            self._interval = min(2 * self._interval, LONGEST)
        self._event = self.due is not None
        if joinable:
            self._join_at = now + QUIET
            self._sooner(self._join_at)
        if landing:
            self._sooner(now + LANDING)

    def is_throttled(self, now: float) -> bool:
        """Tell whether its look waits, as looks of late came to nothing though there were events."""
        return self._interval > SHORTEST and now < self._free_from + self._interval

    def _sooner(self, when: float) -> None:
        self.due = when if self.due is None else min(self.due, when)
