"""`filemapd top` on a terminal, against a fake fleet."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.cli.top.live import press
from supervisor.cli.top.once import View
from tests.unit.supervisor.cli.top.fake_fleet import TOP, serving

DEADLINE = 60.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal that runs `filemapd top`, and its output in `text`."""

    def __init__(self, folder: Path, *words: str, lines: int = 24) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (lines, 80))
        self.before = termios.tcgetattr(theirs)
        self.text = ""
        self.process = subprocess.Popen(
            [*TOP, str(folder), "top", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"TERM": "xterm", "PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        self._theirs = theirs

    def press(self, keys: str) -> None:
        """Press keys, after dropping the output so far."""
        self.read(0)
        self.text = ""
        os.write(self.ours, keys.encode())

    def read(self, seconds: float) -> None:
        """Read output for up to `seconds`."""
        while select.select([self.ours], [], [], seconds)[0]:
            self.text += os.read(self.ours, 65536).decode()
            seconds = 0

    def wait_for(self, *parts: str) -> str:
        """Return the output, without escapes, once it contains `parts` in this order."""
        pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            self.read(0.05)
            shown = _ESCAPES.sub("", self.text)
            if pattern.search(shown):
                return shown
        raise AssertionError(f"never written: {parts}\n{_ESCAPES.sub('', self.text)}")

    def ended(self) -> int:
        """Wait for the exit and return its status. Assert that the terminal's mode is restored."""
        until = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < until:
            self.read(0.05)
        status = self.process.wait(1)
        self.read(0)
        assert termios.tcgetattr(self._theirs) == self.before
        return status

    def close(self) -> None:
        """Kill the process and close the terminal."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Return a function that starts `filemapd top` on a terminal."""
    with contextlib.ExitStack() as undo:

        def start(*words: str, lines: int = 24) -> Terminal:
            started = Terminal(tmp_path, *words, lines=lines)
            undo.callback(started.close)
            return started

        yield start


def test_once_on_a_terminal(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """On a terminal, --once shows a progress bar."""
    with serving(tmp_path, "a10.img"):
        shown = terminal("--once", "--interval", "1")
        shown.wait_for("measuring", "a10.img", " 10000 ")
        assert shown.ended() == 0


def test_keys() -> None:
    """The keys of the last line; others do nothing."""
    view = View("iops", None, 3.0)
    sorts = {key: press(view, key).sort for key in "iblpsn"}
    assert sorts == {"i": "iops", "b": "bytes", "l": "latency", "p": "p99", "s": "share", "n": "name"}
    backwards = press(view, "r")
    assert (backwards.backwards, press(backwards, "r").backwards) == (True, False)
    assert press(backwards, "b") == View("bytes", None, 3.0)
    assert (press(view, "q").over, press(view, " ").at_once) == (True, True)
    assert all(press(view, key) == view for key in "xQ?\n\t1")


def test_live(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """Keys change the order while figures are refreshed, and `q` restores the terminal."""
    with serving(tmp_path, "a10.img", "a500.img", "a0.img"):
        shown = terminal("--interval", "1")
        shown.wait_for("by iops", "a500.img", " 500k ", "a10.img", " 10000 ", "a0.img", "q quit")
        shown.press("n")
        shown.wait_for("by name", "a0.img", "a10.img", "a500.img")
        shown.press("r")
        shown.wait_for("by name", "a500.img", "a10.img", "a0.img")
        shown.press("\x1b[Ai")
        shown.wait_for("by name")
        shown.press("q")
        assert shown.ended() == 0
        assert "\x1b[?1049l" in shown.text, "the alternate screen is left"


def test_live_shows_what_fits(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """Of many files, the first ones are shown, and the number of the others."""
    names = [f"a{number:03}.img" for number in range(1000)]
    with serving(tmp_path, *names):
        shown = terminal("--interval", "1", lines=10)
        text = shown.wait_for("a999.img", " 999k ", "a994.img", "994 more files")
        assert "a993.img" not in text.rpartition("a999.img")[2]


def test_live_resized(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """The table is redrawn when the terminal is resized."""
    with serving(tmp_path, *(f"a{number}.img" for number in range(50))):
        shown = terminal("--interval", "60", lines=10)
        shown.wait_for("44 more files")
        termios.tcsetwinsize(shown.ours, (20, 80))
        shown.wait_for("34 more files")


def test_live_outlives_filemapd(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """While filemapd isn't running, the last figures and the error are shown; then refreshes continue."""
    with serving(tmp_path, "a10.img"):
        shown = terminal("--interval", "1")
        shown.wait_for("a10.img", " 10000 ")
    shown.wait_for("filemapd is not running", "a10.img", " 10000 ")
    with serving(tmp_path, "a70.img"):
        shown.wait_for("by iops", "a70.img", " 70000 ")
        shown.press("q")
        assert shown.ended() == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_restore_the_terminal(
    tmp_path: Path, terminal: Callable[..., Terminal], number: signal.Signals, status: int
) -> None:
    """Ctrl-C exits like `q`. SIGTERM and SIGHUP restore the terminal too."""
    with serving(tmp_path, "a10.img"):
        shown = terminal()
        shown.wait_for("a10.img")
        shown.process.send_signal(number)
        assert shown.ended() == status
        assert "\x1b[?1049l" in shown.text


def test_stopped_and_continued(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """Ctrl-Z restores the terminal, `fg` shows the table again."""
    with serving(tmp_path, "a10.img"):
        shown = terminal()
        shown.wait_for("a10.img")
        shown.process.send_signal(signal.SIGTSTP)
        until = time.monotonic() + DEADLINE
        while state(shown.process.pid) != "T":
            assert time.monotonic() < until
            shown.read(0.02)
        shown.read(0)
        assert "\x1b[?1049l" in shown.text
        assert termios.tcgetattr(shown.ours) == shown.before
        shown.text = ""
        shown.process.send_signal(signal.SIGCONT)
        shown.wait_for("by iops", "a10.img")
        shown.press("q")
        assert shown.ended() == 0


def state(pid: int) -> str:
    """Return the state letter of a process from proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
