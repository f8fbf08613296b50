"""A worker reports where its regions lie and how much I/O each had, as the kernel counts it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from dmstats.mode import FilemapdMode
from supervisor.fleet.fork_server import Child, ForkServer
from tests.kernel import oracle
from tests.kernel.conftest import KIB64, Disk, read_direct
from tests.kernel.running import DEADLINE
from workers import messages
from workers.group_finder import GroupSettings
from workers.job import Job

M = TypeVar("M", bound=messages.Message)


@contextlib.contextmanager
def worker(path: Path) -> Iterator[Child]:
    """Run a worker on a file."""
    log, log_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with log, log_end:
        server = ForkServer(log_end.fileno())
        child = server.spawn(Job(str(path), FilemapdMode.PATH, GroupSettings()), {})
        server.close()
    try:
        yield child
    finally:
        child.channel.close()
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def next_of(child: Child, kind: type[M]) -> M:
    """Return the worker's next message of a kind; skip others."""
    while select.select([child.channel], [], [], DEADLINE)[0]:
        message = child.channel.receive()
        assert message is not None, f"the worker ended before {kind.__name__}"
        if isinstance(message, kind):
            return message
    raise AssertionError(f"no {kind.__name__}")


def places(placed: messages.Placed) -> list[tuple[int, int]]:
    """Return start and length of each piece, in bytes."""
    return [(s * 512, n * 512) for s, n in zip(placed.starts, placed.lengths, strict=True)]


def on_disk(path: Path) -> list[tuple[int, int]]:
    """Return start and length of each of filefrag's extents, in disk order, in bytes."""
    return sorted((one.physical, one.length) for one in oracle.extents(path))


@pytest.fixture
def scattered(disk: Disk) -> Path:
    """A file of four extents of 64 KiB each, every 128 KiB of the file."""
    return disk.pieces("disk.img", 4)


def test_io_is_reported_by_place(scattered: Path) -> None:
    """Each read is reported once, with its extent."""
    with worker(scattered) as child:
        extents = places(next_of(child, messages.Placed))
        assert extents == on_disk(scattered)
        by_file = sorted((one.logical, one.physical) for one in oracle.extents(scattered))
        third = [start for start, _ in extents].index(by_file[2][1])
        read_direct(scattered, 4 * KIB64, 7)
        child.channel.send(messages.Sample())
        assert next_of(child, messages.Sampled).ios == [7 if i == third else 0 for i in range(4)]
        child.channel.send(messages.Sample())
        assert next_of(child, messages.Sampled).ios == []


def test_places_are_reported_when_they_change(disk: Disk, scattered: Path) -> None:
    """A new extent is reported, and reads from it from then on. A reconcile without changes reports
    nothing."""
    with worker(scattered) as child:
        before = places(next_of(child, messages.Placed))
        child.channel.send(messages.Reconcile(verify=True))
        # Otherwise that reconcile might see the file half-written.
        assert not next_of(child, messages.Mapped).changed
        disk.write("disk.img", KIB64, offset=9 * KIB64)
        child.channel.send(messages.Reconcile())
        after = places(next_of(child, messages.Placed))
        assert after == on_disk(scattered)
        assert len(after) == len(before) + 1
        read_direct(scattered, 9 * KIB64, 3)
        child.channel.send(messages.Sample())
        ios = dict(zip(after, next_of(child, messages.Sampled).ios, strict=True))
        assert [ios[place] for place in set(after) - set(before)] == [3]


def test_a_successor_reports_only_new_io(scattered: Path) -> None:
    """A worker that takes a group over reports its places, but no earlier I/O."""
    with worker(scattered) as child:
        before = places(next_of(child, messages.Placed))
        read_direct(scattered, 0, 5)
    with worker(scattered) as child:
        assert places(next_of(child, messages.Placed)) == before
        read_direct(scattered, 0, 2)
        child.channel.send(messages.Sample())
        assert sum(next_of(child, messages.Sampled).ios) == 2
