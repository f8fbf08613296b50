"""The event loop: the order in which ready callbacks run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from selectors import EVENT_READ

import pytest

from supervisor.runtime import event_loop as module
from supervisor.runtime.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """An event loop whose every callback takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONGEST", -1.0)
        one = EventLoop()
        yield one
        one.close()


def ready() -> int:
    """Return a descriptor that is readable."""
    read, write = os.pipe()
    os.close(write)
    return read


def test_clients_have_a_turn_in_between(loop: EventLoop) -> None:
    """However many callbacks are due, clients are served in between."""
    called: list[str] = []
    files, client = [ready() for _ in range(3)], ready()
    for fd in files:
        loop.selector.register(fd, EVENT_READ, lambda _: called.append("file"))
    loop.clients.register(client, EVENT_READ, lambda _: called.append("client"))
    loop.turn(None)
    assert called.count("file") == 3
    assert "".join(called).count("fileclient") == 3
    for fd in (*files, client):
        os.close(fd)


def test_responses_that_came_meanwhile(loop: EventLoop) -> None:
    """Due callbacks know since when input hasn't been read: a response may be waiting."""
    fd, called, done = ready(), list[float](), list[float]()
    loop.selector.register(fd, EVENT_READ, lambda _: called.append(time.monotonic()))
    loop.timers.at(time.monotonic(), lambda: done.append(loop.timers.as_of))
    before = time.monotonic()
    loop.turn(None)
    assert before <= done[0] <= called[0]
    os.close(fd)


def test_a_reused_descriptor(loop: EventLoop) -> None:
    """A descriptor closed in the same turn isn't called, nor is a new one with its number for the old one's
    event."""
    fds = [ready(), ready()]
    called: list[str] = []

    def first(_events: int) -> None:
        for fd in fds:
            loop.selector.unregister(fd)
            os.close(fd)
        fds[:] = [ready(), ready()]
        for fd in fds:
            loop.selector.register(fd, EVENT_READ, lambda _: called.append("new"))

    before = list(fds)
    for fd in fds:
        loop.selector.register(fd, EVENT_READ, first)
    loop.turn(None)
    assert sorted(fds) == sorted(before)
    assert called == []
    loop.turn(None)
    assert called == ["new", "new"]
    for fd in fds:
        os.close(fd)
