"""The process that forks workers: whose children they are, and that its own end harms nothing."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from dmstats.mode import FilemapdMode
from supervisor.fleet.fork_server import Child, ForkServer
from workers import messages
from workers.reconciler import GroupSettings
from workers.worker import Job


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """One that serves, and is reaped in the end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, closing(ForkServer(theirs.fileno())) as one:
        yield one
        one.close()
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break


def waiting(server: ForkServer, path: Path) -> Child:
    """Return a worker that waits for a file which is not there."""
    child = server.spawn(Job(str(path), FilemapdMode.PATH, GroupSettings()), {"filemap": path.name})
    child.channel.socket.setblocking(True)
    child.channel.socket.settimeout(60)
    assert child.channel.receive() == messages.Waiting(f"there is no file at {path}")
    return child


def ended(child: Child) -> int:
    """Ask a worker to stop, and return its exit status."""
    child.channel.send(messages.Stop())
    while child.channel.receive() is not None:
        pass
    child.channel.close()
    return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])


def test_workers_are_our_children(server: ForkServer, tmp_path: Path) -> None:
    """Not the server's: they are reaped here, and know nothing but stdio, their channel and the log."""
    one, two = waiting(server, tmp_path / "one"), waiting(server, tmp_path / "two")
    for child in (one, two):
        assert psutil.Process(child.pid).ppid() == os.getpid()
        assert len(os.listdir(f"/proc/{child.pid}/fd")) == 5
    assert ended(one) == 0
    assert ended(two) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_another_takes_over(server: ForkServer, tmp_path: Path, number: int) -> None:
    """One that was killed, or hangs, is replaced; workers that it forked go on."""
    before = waiting(server, tmp_path / "before")
    os.kill(server._pid, number)
    after = waiting(server, tmp_path / "after")
    assert psutil.Process(after.pid).ppid() == os.getpid()
    assert ended(before) == 0
    assert ended(after) == 0


def test_a_message_for_somebody_else(server: ForkServer, tmp_path: Path) -> None:
    """A worker ignores what is not for it, and goes on."""
    child = waiting(server, tmp_path / "one")
    child.channel.send(messages.Waiting("for what?"))
    assert ended(child) == 0


def test_none_to_be_had(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server can't be started the reason is raised, and the next request tries again."""
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError):
            waiting(server, tmp_path / "one")
    assert ended(waiting(server, tmp_path / "two")) == 0


def test_the_file_is_handed_over(server: ForkServer, tmp_path: Path) -> None:
    """What is open with O_PATH here is open for reading there; where it can't be mapped the worker says so."""
    (tmp_path / "file").write_text("x")
    fd = os.open(tmp_path / "file", os.O_PATH)
    with closing(
        server.spawn(Job(str(tmp_path / "file"), FilemapdMode.INODE, GroupSettings(), fd=fd), {}).channel
    ) as channel:
        channel.socket.setblocking(True)
        channel.socket.settimeout(60)
        said = channel.receive()
        assert isinstance(said, messages.Exiting)
        assert "device-mapper" in said.reason
    os.close(fd)
