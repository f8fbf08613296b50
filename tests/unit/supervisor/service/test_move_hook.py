"""The command that runs for each move: real programs in a real loop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from supervisor.ledger.events import MOVED, Event
from supervisor.runtime import execute
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.event_loop import EventLoop
from supervisor.service import move_hook
from supervisor.service.move_hook import MoveHook


class Bench:
    """A loop with a MoveHook."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = command
        self.loop = EventLoop()
        self.before = len(self.loop.selector.get_map())
        self.children = ChildReaper()
        self.on_move = MoveHook(self.loop.selector, self.loop.timers, self.children, lambda: self.command)
        self._id = 0

    def move(self, path: str = "/images/a.img", reason: str = "because") -> None:
        """Report a move."""
        self._id += 1
        details = {"from": self._id - 1, "to": self._id, "device": "vg-lv"}
        self.on_move.handle_event(Event(self._id, 1.5, MOVED, path, path.rpartition("/")[2], reason, details))

    def until(self, done: Callable[[], bool]) -> None:
        """Run the loop until a condition holds."""
        deadline = time.monotonic() + 60
        while not done():
            assert time.monotonic() < deadline, self.on_move.status()
            self.loop.turn(time.monotonic() + 0.01)
            self.children.reap()

    def settle(self) -> dict[str, int]:
        """Run the loop until nothing runs or waits, and return the counters."""
        self.until(lambda: not (self.on_move.status()["running"] or self.on_move.status()["waiting"]))
        return self.on_move.status()


@pytest.fixture
def bench(caplog: pytest.LogCaptureFixture) -> Iterator[Bench]:
    """A bench without a command yet."""
    caplog.set_level(logging.INFO)
    made = Bench(())
    yield made
    made.on_move.close()
    assert len(made.loop.selector.get_map()) == made.before
    made.loop.close()


def script(text: str) -> tuple[str, ...]:
    """Return the command that runs a few lines of Python."""
    return (sys.executable, "-I", "-c", text)


def test_environment_of_the_command(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts are in the environment, not in the arguments. stdin is empty, no other descriptor is open, no
    signal is ignored, and systemd's variables are not passed on."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/secret")
    kept = os.open("/", os.O_RDONLY)
    os.set_inheritable(kept, True)
    out = tmp_path / "out"
    bench.command = script(
        "import os, sys\n"
        f"out = open({str(out)!r}, 'w')\n"
        "facts = {k: v for k, v in os.environ.items() if k.startswith('FILEMAPD_')}\n"
        "ignored = [line for line in open('/proc/self/status') if line.startswith('SigIgn')]\n"
        "fds = sorted(int(n) for n in os.listdir('/proc/self/fd'))\n"
        "print(facts, 'NOTIFY_SOCKET' in os.environ, sys.stdin.read(), len(fds) - 5, os.getcwd(), file=out)\n"
        # Those above 31 are reserved by the C library.
        "ignored = hex(int(ignored[0].split()[1], 16) & 0x7fffffff)\n"
        "print(ignored, sys.argv[1:], os.getsid(0) == os.getpid(), file=out)\n"
    )
    bench.command = (*bench.command, "one", "$two")
    bench.move("/images/ü \n.img", reason="the file was empty")
    assert bench.settle() == {"running": 0, "waiting": 0, "failed": 0, "dropped": 0}
    os.close(kept)
    first, second = out.read_text().splitlines()
    facts = {
        "FILEMAPD_PATH": "/images/ü \n.img",
        "FILEMAPD_NAME": "ü \n.img",
        "FILEMAPD_DEVICE": "vg-lv",
        "FILEMAPD_OLD": "0",
        "FILEMAPD_NEW": "1",
        "FILEMAPD_REASON": "the file was empty",
    }
    # Besides stdio and its own file there is the descriptor of the listing.
    assert first == f"{facts} False  0 /"
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert second == "0x1001000 ['one', '$two'] True"


def test_no_command_no_process(bench: Bench) -> None:
    """Without a configured command nothing runs."""
    bench.move()
    assert bench.on_move.status()["running"] == 0


def test_output_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Output is logged by line, also an unterminated last one, with limits on length and number; failures are
    logged."""
    bench.command = script(
        "import sys; print('x' * 2000); print('two', file=sys.stderr); print('end', end='')"
    )
    bench.move()
    assert bench.settle()["failed"] == 0
    messages = [record.getMessage().partition(" for a.img: ")[2] for record in caplog.records]
    assert sorted(messages) == ["end", "two", "x" * 500]
    caplog.clear()
    bench.command = script("[print(n) for n in range(1000)]; raise SystemExit(3)")
    bench.move()
    assert bench.settle()["failed"] == 1
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 102
    assert messages[-2].endswith("(the rest is left out)")
    assert messages[-1] == "on_move for a.img (event 2): exit status 3"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/no/such/program",), "exit status 127"),
        (script("import os; os.kill(os.getpid(), 9)"), "killed by SIGKILL"),
    ],
)
def test_failures(bench: Bench, caplog: pytest.LogCaptureFixture, command: Sequence[str], why: str) -> None:
    """A failure is counted and logged with its reason; so is a command that can't be executed."""
    bench.command = command
    bench.move()
    assert bench.settle()["failed"] == 1
    assert f"on_move for a.img (event 1): {why}" in caplog.text
    assert ("/no/such/program can't be run: No such file" in caplog.text) == (why == "exit status 127")


def test_one_that_takes_too_long(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed with its descendants, though it closed its output."""
    # Enough for the command to start.
    monkeypatch.setattr(move_hook, "LIMIT", 5.0)
    bench.command = script(
        "import os, subprocess, sys, time\n"
        "print(subprocess.Popen(['sleep', '1000'], stdout=2).pid, flush=True)\n"
        "os.close(1); os.close(2)\n"
        "time.sleep(1000)"
    )
    bench.move()
    assert bench.settle()["failed"] == 1
    assert "killed, as it took more than 5 s" in caplog.text
    sleeper = int(caplog.records[0].getMessage().rpartition(" ")[2])
    bench.until(lambda: not alive(sleeper))


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_bounded_and_in_order(bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Four run at once, for different files; a file's own moves run in turn; those beyond the queue's limit
    are dropped."""
    log = tmp_path / "log"
    # The first four end only when all of them have started.
    bench.command = script(
        "import os, time\n"
        f"log = os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "for what in ('+', '-'):\n"
        "    os.write(log, f\"{what} {os.environ['FILEMAPD_NAME']} {os.environ['FILEMAPD_NEW']}\\n\".encode())\n"
        f"    while open({str(log)!r}).read().count('+') < 4:\n"
        "        time.sleep(0.01)\n"
    )
    for _ in range(3):
        for name in "abcdef":
            bench.move(f"/images/{name}")
    assert bench.on_move.status() == {"running": 4, "waiting": 14, "failed": 0, "dropped": 0}
    assert bench.settle()["failed"] == 0
    running: set[str] = set()
    most = 0
    order: dict[str, list[int]] = {}
    for line in log.read_text().splitlines():
        what, name, new = line.split()
        if what == "+":
            assert name not in running
            running.add(name)
            order.setdefault(name, []).append(int(new))
        else:
            running.remove(name)
        most = max(most, len(running))
    assert most == 4
    assert all(moves == sorted(moves) and len(moves) == 3 for moves in order.values())

    bench.command = ("/bin/true",)
    for _ in range(1010):
        bench.move()
    assert bench.on_move.status()["dropped"] == 9
    assert caplog.text.count("moves wait for on_move") == 1
    bench.command = ()
    assert bench.settle()["waiting"] == 0


def test_a_line_without_an_end(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A line that is too long is cut."""
    bench.command = (sys.executable, "-c", "print('x' * 20_000, end='')")
    bench.move()
    bench.settle()
    lengths = [text.count("x") for text in caplog.messages if text.endswith("x")]
    assert lengths
    assert max(lengths) < 20_000


def test_terminated_before_exec() -> None:
    """A SIGTERM before the exec ends the command: this process's handler doesn't apply to it."""
    before = signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        for _ in range(20):
            pid, output = execute.start(("/bin/sleep", "60"), {}, 60.0)
            os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
            os.close(output)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_filemapd_stops(caplog: pytest.LogCaptureFixture) -> None:
    """Running commands get SIGTERM, waiting ones are dropped, and the supervisor doesn't wait for them."""
    bench = Bench(("/bin/sleep", "1000"))
    bench.move()
    bench.move()
    (pid,) = [run._pid for run in bench.on_move._running.values()]
    before = time.monotonic()
    bench.on_move.close()
    assert time.monotonic() - before < 5
    assert len(bench.loop.selector.get_map()) == bench.before
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT).si_status == signal.SIGTERM  # type: ignore[union-attr]
    bench.until(lambda: not bench.on_move.status()["running"])
    assert "1 moves waited for on_move and are dropped" in caplog.text
    bench.move()
    assert bench.on_move.status()["waiting"] == 0
    bench.loop.close()
