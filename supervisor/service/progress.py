"""The progress of the start: a bar on a terminal, otherwise a log line now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Final

from supervisor.fleet.state_machine import State

_log = logging.getLogger("filemapd.supervisor")

# Seconds. A shorter start logs nothing; a longer one is logged this often.
_PATIENCE: Final = 2.0
_EVERY: Final = 5.0
_WIDTH: Final = 30


class Progress:
    """Shows how many files are mapped for the first time. `show` puts a line at the foot of a terminal, an empty
    one removes it; None without a terminal."""

    def __init__(self, show: Callable[[str], None] | None) -> None:
        self._show = show
        self._began: float | None = None
        self._next_at = 0.0
        self._shown = False

    def tick(self, now: float, states: Collection[State]) -> None:
        """Called once a second with the states of all files."""
        left = sum(state is State.STARTING for state in states)
        if left == 0:
            self._end(now, len(states))
        elif self._began is None:
            self._began, self._next_at = now, now + _PATIENCE
        elif now >= self._next_at:
            self._log_progress(now, len(states) - left, len(states))

    def _log_progress(self, now: float, done: int, total: int) -> None:
        self._shown = True
        if self._show is not None:
            self._show(bar(done, total))
            return
        self._next_at = now + _EVERY
        _log.info("starting: %d of %d files", done, total)

    def _end(self, now: float, total: int) -> None:
        if self._shown and self._began is not None:
            if self._show is not None:
                self._show("")
            _log.info("started: all %d files after %.0f s", total, now - self._began)
        self._began, self._shown = None, False


def bar(done: int, total: int) -> str:
    """Return a bar of fixed width with the figures behind it."""
    full = _WIDTH * done // total
    return f"[{'#' * full}{'.' * (_WIDTH - full)}] {done} of {total} files"
