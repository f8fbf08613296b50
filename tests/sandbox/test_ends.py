"""How guests end: normally, lost, interrupted, killed."""

import io
import os
import pty
import select
import signal
import termios
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sandbox.guest import GuestLost, run
from tests.sandbox.conftest import Start

CRASH = "echo 1 >/proc/sys/kernel/sysrq; echo {} >/proc/sysrq-trigger; sleep 1000"
PATIENCE = "200"


def _await_line(stream: io.BufferedReader, expected: bytes) -> None:
    """Read up to a line that a command writes at a certain point."""
    for line in stream:
        if line.strip() == expected:
            return
    raise AssertionError(f"{expected!r} never came")


def test_signal_and_missing_command(start: Start) -> None:
    """A command that a signal ended gives 128 + N, a missing one 127 with its name."""
    killed = start("--timeout", PATIENCE, "--", "sh", "-c", "kill -9 $$")
    missing = start("--timeout", PATIENCE, "--", "no-such-command")
    assert (killed.communicate(), killed.returncode) == ((b"", b""), 128 + 9)
    _, stderr = missing.communicate()
    assert missing.returncode == 127
    assert b"no-such-command" in stderr


def test_lost_guests(start: Start) -> None:
    """A guest that panics or restarts is lost: 125 with the console's last lines, and the command runs only
    once."""
    panics = start("--timeout", PATIENCE, "--", "sh", "-c", "echo once; " + CRASH.format("c"))
    restarts = start("--timeout", PATIENCE, "--", "sh", "-c", "echo once; " + CRASH.format("b"))
    for process, reason in ((panics, b"sysrq triggered crash"), (restarts, b"restarted itself")):
        stdout, stderr = process.communicate()
        assert process.returncode == 125
        assert reason in stderr
        assert stdout.count(b"once") <= 1


def test_timeout(tmp_path: Path) -> None:
    """A guest that doesn't end in time is lost; the error has the console's last lines."""
    with (tmp_path / "output").open("wb") as output, pytest.raises(GuestLost) as lost:
        run(["sleep", "1000"], memory="512M", timeout=8, stdout=output, stderr=output)
    assert "8 s" in lost.value.reason
    assert lost.value.console_tail


def test_side_by_side_and_signals(start: Start) -> None:
    """Of two guests at once one is interrupted, the other killed by the second signal."""
    polite = start(
        "--timeout", PATIENCE, "--", "sh", "-c", "trap 'echo bye; exit 7' INT; echo up; while :; do :; done"
    )
    stubborn = start(
        "--timeout", PATIENCE, "--", "sh", "-c", "trap 'echo no' TERM; echo up; while :; do :; done"
    )
    for process in (polite, stubborn):
        assert isinstance(process.stdout, io.BufferedReader)
        _await_line(process.stdout, b"up")
    assert polite.poll() is None
    polite.send_signal(signal.SIGINT)
    assert polite.communicate() == (b"bye\n", b"")
    assert polite.returncode == 7
    stubborn.send_signal(signal.SIGTERM)
    assert isinstance(stubborn.stdout, io.BufferedReader)
    _await_line(stubborn.stdout, b"no")
    stubborn.send_signal(signal.SIGTERM)
    _, stderr = stubborn.communicate()
    assert stubborn.returncode == 125
    assert b"was killed" in stderr


def test_dies_with_the_host(start: Start, place: Path, processes: Callable[[str], list[str]]) -> None:
    """If the process that started a guest or its keeper is killed, so is the guest, and its folder is
    removed."""
    orphaned = start("--timeout", PATIENCE, "--", "sh", "-c", "echo up; sleep 1000")
    unwatched = start("--timeout", PATIENCE, "--", "sh", "-c", "echo up; sleep 1000")
    for process in (orphaned, unwatched):
        assert isinstance(process.stdout, io.BufferedReader)
        _await_line(process.stdout, b"up")
    assert processes(f"uml_dir={place}") != []
    orphaned.kill()
    orphaned.communicate()
    (keeper,) = psutil.Process(unwatched.pid).children()
    keeper.kill()
    unwatched.communicate()
    assert unwatched.returncode == 125
    deadline = time.monotonic() + 60
    while processes(f"uml_dir={place}") or any(place.glob("sandbox-*")):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)


def test_interrupted_while_it_boots(start: Start) -> None:
    """A signal before the command's start isn't lost: the command gets it."""
    process = start("--timeout", PATIENCE, "--", "sleep", "1000")
    deadline = time.monotonic() + 60
    while not _has_keeper(process.pid):
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)
    # The handlers are installed just after the keeper starts.
    while not int(_status_field(process.pid, "SigCgt"), 16) >> (signal.SIGTERM - 1) & 1:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM


def _has_keeper(pid: int) -> bool:
    """Return whether a process has a keeper yet; another child may end meanwhile."""
    try:
        return any("sandbox.keeper" in child.cmdline() for child in psutil.Process(pid).children())
    except psutil.NoSuchProcess:
        return False


def _status_field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def test_terminal(start: Start) -> None:
    """On a terminal the command sees one, of the same size."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (33, 99))
    process = start("--timeout", PATIENCE, "--", "stty", "size", "-F", "/dev/stdout", terminal=slave)
    os.close(slave)
    seen = b""
    while not seen.endswith(b"\n"):
        seen += os.read(master, 4096)  # EIO if it ends without a line
    os.close(master)
    assert (process.wait(), seen) == (0, b"33 99\r\n")


def test_output_that_cant_be_written() -> None:
    """Output to a full disk is an error, not a successful run."""
    with Path("/dev/full").open("wb") as full, pytest.raises(OSError, match="No space left"):
        run(["echo", "something"], memory="512M", timeout=float(PATIENCE), stdout=full)
