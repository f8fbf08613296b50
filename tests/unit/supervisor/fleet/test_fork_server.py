"""The fork server: its workers are children of the supervisor, and its end harms none of them."""

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
from workers.group_finder import GroupSettings
from workers.job import Job


@pytest.fixture
def server() -> Iterator[ForkServer]:
    """A running fork server."""
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
    """Return a worker of a file that does not exist."""
    child = server.spawn(Job(str(path), FilemapdMode.PATH, GroupSettings()), {"filemap": path.name})
    child.channel.socket.setblocking(True)
    child.channel.socket.settimeout(60)
    assert child.channel.receive() == messages.Waiting("there is no file at the path")
    return child


def ended(child: Child) -> int:
    """Ask a worker to stop, and return its exit status."""
    child.channel.send(messages.Stop())
    while child.channel.receive() is not None:
        pass
    child.channel.close()
    return os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])


def test_workers_are_our_children(server: ForkServer, tmp_path: Path) -> None:
    """They are reaped here, and have only stdio, their channel and the log open."""
    one, two = waiting(server, tmp_path / "one"), waiting(server, tmp_path / "two")
    for child in (one, two):
        assert psutil.Process(child.pid).ppid() == os.getpid()
        assert len(os.listdir(f"/proc/{child.pid}/fd")) == 5
    assert ended(one) == 0
    assert ended(two) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_another_takes_over(server: ForkServer, tmp_path: Path, number: int) -> None:
    """A killed or hanging server is replaced; its workers continue."""
    before = waiting(server, tmp_path / "before")
    os.kill(server._pid, number)
    after = waiting(server, tmp_path / "after")
    assert psutil.Process(after.pid).ppid() == os.getpid()
    assert ended(before) == 0
    assert ended(after) == 0


def test_a_message_for_the_supervisor(server: ForkServer, tmp_path: Path) -> None:
    """A worker ignores it and continues."""
    child = waiting(server, tmp_path / "one")
    child.channel.send(messages.Waiting("for what?"))
    assert ended(child) == 0


def test_no_server_available(server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised, and the next request tries again."""
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError):
            waiting(server, tmp_path / "one")
    assert ended(waiting(server, tmp_path / "two")) == 0


def test_the_file_is_passed_on(server: ForkServer, tmp_path: Path) -> None:
    """An O_PATH descriptor is open for reading in the worker, which reports a file that can't be mapped."""
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
