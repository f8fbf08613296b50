"""`filemapd top` on a terminal: polls the supervisor and refreshes the table.

The supervisor samples counters only every `sample` (10 s unless configured). So each round begins with POST
/v1/sample, which samples all files that were not sampled within the last second and whose device was active. The
response doesn't wait for the workers, so the status is requested a moment later. A file whose sample is missing by
then has its older figures, as AGE shows.
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
from supervisor.cli.top.once import RECENT, Request, View, sample_body
from supervisor.cli.top.table import footer, header, top_table
from supervisor.control.client import ControlError

_KEYS: Final = {"i": "iops", "b": "bytes", "l": "latency", "p": "p99", "s": "share", "n": "name"}
_HELP: Final = "q quit, r reverse, space now; by i iops b bytes l latency p p99 s share n name"
# The time in seconds that workers have to report counters before the status is requested.
_SETTLE: Final = 0.5
# Besides the files' lines: the header, the table's head and two lines below it.
_OTHER_LINES: Final = 4


def press(view: View, key: str) -> View:
    """Return the view after a key. An unknown key changes nothing."""
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
    """The table on a terminal, refreshed until `q` or Ctrl-C."""

    def __init__(self, request: Request, view: View, console: Console, version: str) -> None:
        self._request = request
        self._view = view
        self._console = console
        self._version = version
        self._activity = Activity(view.device)
        self._problem = ""
        self._rounds = 0
        self._sample_at = time.monotonic()
        self._status_at: float | None = None

    def run(self) -> None:
        """Show the table until the user quits. Ctrl-Z and `fg` work as usual."""
        with _wakeup_fd(signal.SIGWINCH, signal.SIGTSTP) as wakes, contextlib.suppress(KeyboardInterrupt):
            while not self._view.over:
                with _cbreak_mode(), Live(console=self._console, screen=True, auto_refresh=False) as screen:
                    self._show(screen, wakes)
                if not self._view.over:
                    os.kill(os.getpid(), signal.SIGSTOP)

    def _show(self, screen: Live, wakes: int) -> None:
        """Show the table until the user quits or suspends the process."""
        while not self._view.over:
            self._update(time.monotonic())
            screen.update(self._picture(), refresh=True)
            ready = select.select([sys.stdin, wakes], [], [], self._seconds_left(time.monotonic()))[0]
            if wakes in ready and signal.SIGTSTP in os.read(wakes, 64):
                return
            if sys.stdin in ready:
                self._handle_keys(os.read(sys.stdin.fileno(), 64))

    def _handle_keys(self, typed: bytes) -> None:
        if not typed:  # the terminal is closed
            self._view = replace(self._view, over=True)
        elif not typed.startswith(b"\x1b"):  # not an escape sequence, such as an arrow key's
            for key in typed.decode("ascii", "ignore"):
                self._view = press(self._view, key)

    def _seconds_left(self, now: float) -> float:
        """Return the seconds until the next request or refresh. Ages are refreshed each second."""
        due = self._sample_at if self._status_at is None else min(self._sample_at, self._status_at)
        return min(1.0, max(0.0, due - now))

    def _update(self, now: float) -> None:
        if now >= self._sample_at or self._view.at_once:
            self._try("POST", "/v1/sample", sample_body(self._view))
            # Counted from the response, so that the next request isn't too early for a file to be sampled again. The
            # first figures need two samples, and the second one doesn't wait for a whole interval.
            now = time.monotonic()
            self._sample_at = now + (self._view.interval if self._rounds else RECENT)
            self._status_at = now + _SETTLE
            self._view = replace(self._view, at_once=False)
            self._rounds += 1
        elif self._status_at is not None and now >= self._status_at:
            self._status_at = None
            status = self._try("GET", "/v1/status", None)
            if status is not None:
                self._activity.take(status)

    def _try(self, method: str, path: str, body: object) -> Any:
        """Return the response. If the request fails, show the error and return None; the next round retries."""
        try:
            response = self._request(method, path, body)
        except ControlError as error:
            self._problem = str(error)
            return None
        self._problem = ""
        return response

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
    """Return a line that is cut off at the terminal's width."""
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


@contextlib.contextmanager
def _cbreak_mode() -> Iterator[None]:
    """Read each key when it is pressed, without echo. Restore the terminal's mode afterwards."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _wakeup_fd(*signals: signal.Signals) -> Iterator[int]:
    """Yield a descriptor that receives a byte for each of `signals`.

    SIGTERM and SIGHUP exit through SystemExit, so that the terminal is restored.
    """
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
