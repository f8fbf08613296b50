"""`filemapd top` on a terminal: asks the running filemapd again and again, and draws what the files do.

Counters are read once in `sample` (10 s unless configured). Whoever looks on wants to see more, so each round begins
with POST /v1/sample: then those files are read that were not within the last second and whose device did anything.
The answer doesn't wait for the workers, so the status is asked for a moment later; what is not in it by then is
older, and shown to be.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from supervisor.cli.cells import text
from supervisor.cli.top.activity import Activity, ordered
from supervisor.cli.top.once import RECENT, Ask, View, sample_body
from supervisor.cli.top.table import footer, header, top_table
from supervisor.control.client import ControlError

_KEYS: Final = {"i": "iops", "b": "bytes", "l": "latency", "p": "p99", "s": "share", "n": "name"}
_HELP: Final = "q quit, r reverse, space now; by i iops b bytes l latency p p99 s share n name"
# So long the workers have to tell their counters before the status is asked for.
_SETTLE: Final = 0.5
# Beside the files' lines: header, the table's head, two lines below it.
_OTHER_LINES: Final = 4


def press(view: View, key: str) -> View:
    """Return what is to be shown after a key; one that says nothing changes nothing."""
    if key in _KEYS:
        return replace(view, sort=_KEYS[key], backwards=False)
    match key:
        case "r":
            return replace(view, backwards=not view.backwards)
        case " ":
            return replace(view, at_once=True)
        case "q":
            return replace(view, over=True)
    return view


class LiveTop:
    """The table on a terminal, drawn anew until `q` or Ctrl-C."""

    def __init__(self, ask: Ask, view: View, console: Console, version: str) -> None:
        self._ask = ask
        self._view = view
        self._console = console
        self._version = version
        self._activity = Activity(view.device)
        self._problem = ""
        self._rounds = 0
        self._sample_at = time.monotonic()
        self._look_at: float | None = None

    def run(self) -> None:
        """Show the table until the end; Ctrl-Z and `fg` work as elsewhere."""
        with _woken_by(signal.SIGWINCH, signal.SIGTSTP) as wakes, contextlib.suppress(KeyboardInterrupt):
            while not self._view.over:
                with _keys_at_once(), Live(console=self._console, screen=True, auto_refresh=False) as screen:
                    self._show(screen, wakes)
                if not self._view.over:
                    os.kill(os.getpid(), signal.SIGSTOP)

    def _show(self, screen: Live, wakes: int) -> None:
        """Show the table until the end, or until the terminal is wanted for something else."""
        while not self._view.over:
            self._take_turn(time.monotonic())
            screen.update(self._picture(), refresh=True)
            ready = select.select([sys.stdin, wakes], [], [], self._left(time.monotonic()))[0]
            if wakes in ready and signal.SIGTSTP in os.read(wakes, 64):
                return
            if sys.stdin in ready:
                self._pressed(os.read(sys.stdin.fileno(), 64))

    def _pressed(self, typed: bytes) -> None:
        if not typed:  # the terminal has gone
            self._view = replace(self._view, over=True)
        elif not typed.startswith(b"\x1b"):  # an arrow and the like
            for key in typed.decode("ascii", "ignore"):
                self._view = press(self._view, key)

    def _left(self, now: float) -> float:
        """Return the seconds until there is something to do; ages are drawn anew each second."""
        due = self._sample_at if self._look_at is None else min(self._sample_at, self._look_at)
        return min(1.0, max(0.0, due - now))

    def _take_turn(self, now: float) -> None:
        if now >= self._sample_at or self._view.at_once:
            self._try("POST", "/v1/sample", sample_body(self._view))
            # From the answer on, so that the next time is not too soon for a file to be read again. The first two
            # samples make the first figures: those need not wait for a whole interval.
            asked = time.monotonic()
            self._sample_at = asked + (self._view.interval if self._rounds else RECENT)
            self._look_at = asked + _SETTLE
            self._view = replace(self._view, at_once=False)
            self._rounds += 1
        elif self._look_at is not None and now >= self._look_at:
            self._look_at = None
            status = self._try("GET", "/v1/status", None)
            if status is not None:
                self._activity.take(status)

    def _try(self, method: str, path: str, body: object) -> Any:
        """Return the answer; None where there is none, which is shown and tried again with the next round."""
        try:
            answer = self._ask(method, path, body)
        except ControlError as error:
            self._problem = str(error)
            return None
        self._problem = ""
        return answer

    def _picture(self) -> Group:
        view, size = self._view, self._console.size
        rows = ordered(self._activity.rows(), view.sort, backwards=view.backwards)
        shown = rows[: max(1, size.height - _OTHER_LINES)]
        first = header(rows, view.sort, version=self._version, device=view.device)
        return Group(
            _line(_problem(self._problem) if self._problem else first),
            top_table(shown, view.sort, width=size.width, now=time.time(), cut=True),
            _line(footer(rows, len(shown))),
            _line(Text(_HELP, "dim")),
        )


def _problem(problem: str) -> Text:
    line = text(problem)
    line.stylize("bold red")
    return line


def _line(line: Text) -> Text:
    """Return a line that is cut where the terminal ends."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """Have keys told as they are pressed, and not shown."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _woken_by(*signals: signal.Signals) -> Iterator[int]:
    """Yield a descriptor on which each of the signals that come is a byte. SIGTERM and SIGHUP end the program in
    order, so that the terminal is left as it was."""
    wakes, feed = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(feed, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda _number, _frame: None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        yield wakes
    finally:
        signal.set_wakeup_fd(-1)


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)
