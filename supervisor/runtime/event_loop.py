"""The event loop: the one place to wait for workers, signals, inotify, the control socket and timers."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from supervisor.runtime.timers import Timers

# Seconds. Clients are served this often, even while a thousand files change at once.
_LONGEST: Final = 0.05
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class EventLoop:
    """Calls key.data(events) for each descriptor that is ready, and runs timers."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.clients = selectors.DefaultSelector()
        """Like `selector`, for descriptors that are also served in the middle of a long turn."""
        self.selector.register(self.clients, selectors.EVENT_READ, self._serve)
        self.timers = Timers()
        self._wake, self._feed = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def on_signals(self, actions: Mapping[signal.Signals, Callable[[], None]]) -> None:
        """Call `actions` on signals, in the loop and not in a signal handler."""

        def read(_events: int) -> None:
            for number in set(os.read(self._wake, 4096)):
                actions[signal.Signals(number)]()

        for number in _SIGNALS:
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._feed, warn_on_full_buffer=False)
        self.selector.register(self._wake, selectors.EVENT_READ, read)

    def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` now, and again `seconds` after it has ended."""

        def again() -> None:
            action()
            self.timers.at(time.monotonic() + seconds, again)

        self.timers.at(time.monotonic(), again)

    def turn(self, until: float | None) -> float:
        """Wait until `until` (monotonic) or the next timer at most, and handle what is ready. Return the time at
        which the timers ran."""
        due = [when for when in (until, self.timers.next_due()) if when is not None]
        left = max(0.0, min(due) - time.monotonic()) if due else None
        ready = self.selector.select(left)
        now = served = self.timers.as_of = time.monotonic()
        for key, events in ready:
            _call(self.selector, key, events)
            now = time.monotonic()
            if now > served + _LONGEST:
                self._serve(0)
                served = now
        self.timers.run(now)
        return now

    def _serve(self, _events: int) -> None:
        for key, events in self.clients.select(0):
            _call(self.clients, key, events)

    def close(self) -> None:
        """Close the loop's own descriptors."""
        signal.set_wakeup_fd(-1)
        self.clients.close()
        self.selector.close()
        os.close(self._wake)
        os.close(self._feed)


def _call(selector: selectors.BaseSelector, key: selectors.SelectorKey, events: int) -> None:
    """Call the handler of a ready descriptor, unless it was closed in this turn: another may have its number by
    now."""
    if selector.get_map().get(key.fd) is key:
        key.data(events)
