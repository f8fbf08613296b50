"""`filemapd top` against a control socket that answers what the test wants; the live view on a real terminal."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import selectors
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli.top.live import press
from supervisor.cli.top.once import View, device_named
from supervisor.control.requests import Request, SampleRequest
from supervisor.control.routes import Response, Route
from supervisor.control.server import ControlServer
from supervisor.text.times import rfc3339
from tests.unit.supervisor.cli.top.test_activity import NOTHING, filemap

DEADLINE = 60.0
_TOP = (sys.executable, "-c", "from supervisor.cli.main import main; main()", "--runtime-dir")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Fleet:
    """Answers as filemapd does: counters are as of the last sample, and samples are a second apart or more.

    Each file does so many reads a millisecond as its name's number says.
    """

    def __init__(self, path: Path, names: list[str]) -> None:
        self.names = names
        self.asked: list[object] = []
        self._begin = self._sampled = _now_ms()
        self._selector = selectors.DefaultSelector()
        routes = {
            ("GET", "/v1/status"): Route(Request, lambda _: Response(200, self.status())),
            ("POST", "/v1/sample"): Route(SampleRequest, self.sample),
        }
        self._control = ControlServer(path, routes)
        self._control.register(self._selector)
        self._over = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over:
            for key, mask in self._selector.select(0.02):
                key.data(mask)

    def close(self) -> None:
        """End."""
        self._over = True
        self._thread.join()
        self._control.close()
        self._selector.close()

    def sample(self, request: SampleRequest) -> Response:
        """Read the counters, if they were not just now."""
        self.asked.append(request.model_dump(exclude_none=True) or None)
        if _now_ms() - self._sampled >= 1000:
            self._sampled = _now_ms()
        return Response(202, {"asked": 1})

    def status(self) -> dict[str, Any]:
        """Return the status as of the last sample."""
        files = []
        for name in self.names:
            reads = int("".join(filter(str.isdigit, name))) * (self._sampled - self._begin)
            known = filemap(name, 0, reads, device=f"vg-{name[0]}")
            files.append(known | {"sampled_at": rfc3339(self._sampled / 1000)})
        devices = [
            {**NOTHING, "device": device, "number": f"253:{number}"}
            for number, device in enumerate(sorted({f"vg-{name[0]}" for name in self.names}))
        ]
        return {"version": "9.9", "at": rfc3339(time.time()), "devices": devices, "filemaps": files}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def serving(folder: Path, *names: str) -> Iterator[Fleet]:
    """Have a fleet answer on the control socket in `folder`."""
    fleet = Fleet(folder / "control.sock", list(names))
    try:
        yield fleet
    finally:
        fleet.close()


def top(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `filemapd top` without a terminal."""
    return subprocess.run([*_TOP, str(folder), "top", *words], capture_output=True, text=True, check=False)


class Terminal:
    """A terminal with `filemapd top` on it, and what that wrote."""

    def __init__(self, folder: Path, *words: str, lines: int = 24) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (lines, 80))
        self.before = termios.tcgetattr(theirs)
        self.text = ""
        self.process = subprocess.Popen(
            [*_TOP, str(folder), "top", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"TERM": "xterm", "PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        self._theirs = theirs

    def press(self, keys: str) -> None:
        """Press keys; what was written before counts no more."""
        self.read(0)
        self.text = ""
        os.write(self.ours, keys.encode())

    def read(self, seconds: float) -> None:
        """Take in what comes."""
        while select.select([self.ours], [], [], seconds)[0]:
            self.text += os.read(self.ours, 65536).decode()
            seconds = 0

    def wait_for(self, *parts: str) -> str:
        """Return the lines, without escapes, once each part was written after the one before it."""
        pattern = re.compile(".*?".join(map(re.escape, parts)), re.DOTALL)
        until = time.monotonic() + DEADLINE
        while time.monotonic() < until:
            self.read(0.05)
            shown = _ESCAPES.sub("", self.text)
            if pattern.search(shown):
                return shown
        raise AssertionError(f"never written: {parts}\n{_ESCAPES.sub('', self.text)}")

    def ended(self) -> int:
        """Return the exit status, once it has ended; the terminal is then as it was."""
        until = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < until:
            self.read(0.05)
        status = self.process.wait(1)
        self.read(0)
        assert termios.tcgetattr(self._theirs) == self.before
        return status

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """What starts `filemapd top` on a terminal."""
    with contextlib.ExitStack() as undo:

        def start(*words: str, lines: int = 24) -> Terminal:
            one = Terminal(tmp_path, *words, lines=lines)
            undo.callback(one.close)
            return one

        yield start


def test_once(tmp_path: Path) -> None:
    """Without a terminal it prints one interval's figures, the busiest first, and ends; no escape in it."""
    with serving(tmp_path, "a10.img", "a500.img", "a0.img") as fleet:
        done = top(tmp_path, "--interval", "1")
    assert (done.returncode, done.stderr) == (0, "")
    header, _, *rows, footer = done.stdout.splitlines()
    assert header == "filemapd 9.9: 3 files, 2 with I/O, by iops"
    assert [line.split()[:2] for line in rows] == [
        ["a500.img", "500k"],
        ["a10.img", "10000"],
        ["a0.img", "0"],
    ]
    assert re.match(r"over [1-9]\d*\.\d", footer)
    assert "\x1b" not in done.stdout
    assert fleet.asked == [None, None]


def test_once_on_a_terminal(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """While the first figures are made a bar tells of it."""
    with serving(tmp_path, "a10.img"):
        shown = terminal("--once", "--interval", "1")
        shown.wait_for("measuring", "a10.img", " 10000 ")
        assert shown.ended() == 0


def test_no_files(tmp_path: Path) -> None:
    """There is no table then."""
    with serving(tmp_path):
        done = top(tmp_path, "--interval", "1")
    assert (done.returncode, done.stdout) == (0, "filemapd 9.9: 0 files, 0 with I/O, by iops\n")


def test_json(tmp_path: Path) -> None:
    """--json is the same for programs, in the order of --sort."""
    with serving(tmp_path, "a10.img", "a500.img", "b20.img"):
        done = top(tmp_path, "--json", "--sort", "name", "--interval", "1")
    told = json.loads(done.stdout)
    assert [f["name"] for f in told["filemaps"]] == ["a10.img", "a500.img", "b20.img"]
    assert [f["reads_per_s"] for f in told["filemaps"]] == pytest.approx([10_000, 500_000, 20_000])
    assert [d["device"] for d in told["devices"]] == ["vg-a", "vg-b"]


def test_one_device(tmp_path: Path) -> None:
    """--device takes a name or number; only its files are shown, and only theirs are asked for."""
    with serving(tmp_path, "a10.img", "b20.img") as fleet:
        for words in (("--device", "vg-b"), ("--device", "253:1")):
            fleet.asked.clear()
            done = top(tmp_path, "--json", "--interval", "1", *words)
            told = json.loads(done.stdout)
            assert [f["name"] for f in told["filemaps"]] == ["b20.img"]
            assert [d["device"] for d in told["devices"]] == ["vg-b"]
            assert fleet.asked == [{"device": "vg-b"}] * 2


def test_no_such_device(tmp_path: Path) -> None:
    """The error says which there are."""
    with serving(tmp_path, "a10.img", "b20.img"):
        done = top(tmp_path, "--device", "sda")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("filemapd: no followed file is on 'sda'; devices with files: 'vg-a', 'vg-b'\n")


def test_not_running(tmp_path: Path) -> None:
    """Exit status 3, as for the other commands."""
    done = top(tmp_path)
    assert done.returncode == 3
    assert "filemapd is not running: there is no control socket" in done.stderr


@pytest.mark.parametrize("words", [("--interval", "0.5"), ("--interval", "x"), ("--sort", "size")], ids=str)
def test_wrong_words(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Exit status 2: what is wrong and what would be right."""
    done = top(tmp_path, *words)
    assert done.returncode == 2
    assert re.search(r"1<=x<=3600|not a valid float|'iops', 'bytes'", done.stderr)


def test_a_device_by_its_path() -> None:
    """/dev/... means the device that it is the node of, whatever the node's name is."""
    node = os.stat("/dev/null").st_rdev
    devices = [
        {"device": "vg-a", "number": "253:0"},
        {"device": "vg-b", "number": f"{os.major(node)}:{os.minor(node)}"},
    ]
    assert device_named("/dev/null", devices) == "vg-b"
    assert device_named("/dev/zero", devices) is None
    assert device_named("/dev/none", devices) is None
    assert device_named("/etc/hostname", devices) is None


def test_keys() -> None:
    """Each key does what the last line says; others do nothing."""
    view = View("iops", None, 3.0)
    sorts = {key: press(view, key).sort for key in "iblpsn"}
    assert sorts == {"i": "iops", "b": "bytes", "l": "latency", "p": "p99", "s": "share", "n": "name"}
    backwards = press(view, "r")
    assert (backwards.backwards, press(backwards, "r").backwards) == (True, False)
    assert press(backwards, "b") == View("bytes", None, 3.0)
    assert (press(view, "q").over, press(view, " ").at_once) == (True, True)
    assert all(press(view, key) == view for key in "xQ?\n\t1")


def test_live(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """It is sorted as keys say while figures come in, and `q` leaves the terminal as it was."""
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
        assert "\x1b[?1049l" in shown.text, "the screen of before is back"


def test_live_shows_what_fits(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """Of many files the first, and how many more there are."""
    names = [f"a{number:03}.img" for number in range(1000)]
    with serving(tmp_path, *names):
        shown = terminal("--interval", "1", lines=10)
        text = shown.wait_for("a999.img", " 999k ", "a994.img", "994 more files")
        assert "a993.img" not in text.rpartition("a999.img")[2]


def test_live_with_another_size(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """It is drawn anew when the terminal gets another size."""
    with serving(tmp_path, *(f"a{number}.img" for number in range(50))):
        shown = terminal("--interval", "60", lines=10)
        shown.wait_for("44 more files")
        termios.tcsetwinsize(shown.ours, (20, 80))
        shown.wait_for("34 more files")


def test_live_outlives_filemapd(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """While filemapd is away its last figures stay, with their age and the reason; then it goes on."""
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
def test_signals_leave_the_terminal_as_it_was(
    tmp_path: Path, terminal: Callable[..., Terminal], number: signal.Signals, status: int
) -> None:
    """Ctrl-C is an end like `q`; others end it in order too."""
    with serving(tmp_path, "a10.img"):
        shown = terminal()
        shown.wait_for("a10.img")
        shown.process.send_signal(number)
        assert shown.ended() == status
        assert "\x1b[?1049l" in shown.text


def test_stopped_and_continued(tmp_path: Path, terminal: Callable[..., Terminal]) -> None:
    """Ctrl-Z gives the terminal back, `fg` shows the table again."""
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
    """Return the state letter of a process, as proc(5) tells it."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
