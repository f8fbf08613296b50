"""Runs the configured command for each move of a group, without waiting for it."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from supervisor.ledger.events import MOVED, Event
from supervisor.runtime import execute
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.timers import Timer, Timers

_log = logging.getLogger("filemapd.on_move")

LIMIT: Final = 30.0
"""Seconds that a command may take."""
_AT_ONCE: Final = 4
_WAITING: Final = 1000
_MOST_LINES: Final = 100
_LONGEST_LINE: Final = 500
_PIPE: Final = 64 * 1024


class MoveHook:
    """The running and the queued commands. `command` returns the program and its arguments, empty for none."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        timers: Timers,
        children: ChildReaper,
        command: Callable[[], Sequence[str]],
    ) -> None:
        self._selector = selector
        self._timers = timers
        self._children = children
        self._command = command
        self._waiting: deque[Event] = deque()
        self._running: dict[str, _Run] = {}
        self._failed = self._dropped = 0
        self._over = False

    def handle_event(self, event: Event) -> None:
        """Run the command for an event, if it is a move."""
        if event.kind != MOVED or not self._command() or self._over:
            return
        if len(self._waiting) >= _WAITING:
            self._dropped += 1
            if self._dropped == 1 or self._dropped % _WAITING == 0:
                _log.warning("more than %d moves wait for on_move: %d dropped", _WAITING, self._dropped)
            return
        self._waiting.append(event)
        self._start_some()

    def status(self) -> dict[str, int]:
        """Return the numbers of running and queued commands, and of those that failed or were dropped so far."""
        return {
            "running": len(self._running),
            "waiting": len(self._waiting),
            "failed": self._failed,
            "dropped": self._dropped,
        }

    def close(self) -> None:
        """End the running commands, and start no more."""
        self._over = True
        if self._waiting:
            _log.warning("%d moves waited for on_move and are dropped", len(self._waiting))
            self._waiting.clear()
        for run in list(self._running.values()):
            _log.warning("on_move for %s is ended, as filemapd stops", run.event.name)
            run.end(signal.SIGTERM)
            run.close()

    def _start_some(self) -> None:
        """Start the next commands: one at a time for a file, so that its moves come in order."""
        for event in list(self._waiting):
            if len(self._running) >= _AT_ONCE:
                return
            if event.path not in self._running:
                self._waiting.remove(event)
                self._start(event)

    def _start(self, event: Event) -> None:
        command = self._command()
        if not command:  # removed from the configuration in the meantime
            return
        try:
            pid, output = execute.start(command, _facts(event), LIMIT)
        except OSError as error:
            self._fails(event, f"can't start a process: {error.strerror}")
            return
        run = _Run(pid, output, event, self._selector)
        self._running[event.path] = run
        self._children.register(pid, lambda status: self._ended(run, status))
        run.timer = self._timers.at(time.monotonic() + LIMIT, run.too_long)

    def _ended(self, run: _Run, status: int) -> None:
        run.close()
        del self._running[run.event.path]
        if run.killed:
            self._fails(run.event, f"killed, as it took more than {LIMIT:g} s")
        elif status < 0:
            self._fails(run.event, f"killed by {signal.Signals(-status).name}")
        elif status > 0:
            self._fails(run.event, f"exit status {status}")
        if not self._over:
            self._start_some()

    def _fails(self, event: Event, why: str) -> None:
        self._failed += 1
        _log.warning("on_move for %s (event %d): %s", event.name, event.id, why)


class _Run:
    """One running command. Its output goes to the log, line by line."""

    def __init__(self, pid: int, output: int, event: Event, selector: selectors.BaseSelector) -> None:
        self.event = event
        self.timer: Timer | None = None
        self.killed = False
        self._pid = pid
        self._output: int | None = output
        self._selector = selector
        self._rest = b""
        self._lines = 0
        selector.register(output, selectors.EVENT_READ, lambda _events: self._take())

    def too_long(self) -> None:
        """Kill it and its children: its time is up."""
        self.killed = True
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:  # it has only just been forked
            os.kill(self._pid, number)

    def close(self) -> None:
        """Log the rest of its output, and read no more: its children may still be running."""
        if self.timer is not None:
            self.timer.cancel()
        self._take()
        self._log_output(self._rest)
        self._unregister()

    def _take(self) -> None:
        """Read its output, as much as a pipe holds."""
        if self._output is None:
            return
        try:
            data = os.read(self._output, _PIPE)
        except BlockingIOError:
            return
        if not data:
            self._unregister()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log_output(line)
        if len(self._rest) > _LONGEST_LINE:
            self._log_output(self._rest)
            self._rest = b""

    def _log_output(self, line: bytes) -> None:
        self._lines += bool(line)
        if line and self._lines <= _MOST_LINES:
            text = line[:_LONGEST_LINE].decode("utf-8", "replace")
            _log.info("on_move[%d] for %s: %s", self._pid, self.event.name, text)
        elif line and self._lines == _MOST_LINES + 1:
            _log.info("on_move[%d] for %s: (the rest is left out)", self._pid, self.event.name)

    def _unregister(self) -> None:
        if self._output is not None:
            self._selector.unregister(self._output)
            os.close(self._output)
            self._output = None


def _facts(event: Event) -> dict[str, str]:
    """Return the environment variables of the command."""
    details = event.details
    return {
        "FILEMAPD_PATH": event.path,
        "FILEMAPD_NAME": event.name,
        "FILEMAPD_DEVICE": details["device"],
        "FILEMAPD_OLD": str(details["from"]),
        "FILEMAPD_NEW": str(details["to"]),
        "FILEMAPD_REASON": event.reason,
    }
