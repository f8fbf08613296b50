"""What comes out at the other end of the feed, over a real socket and in a real loop."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from supervisor.runtime.event_loop import EventLoop
from supervisor.web.feed_sender import FeedSender, Message

DEADLINE = 60.0


class Told:
    """A loop with a feed; `files` is what there is to say of each path."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.files: dict[str, list[Message]] = {}
        self.feed = FeedSender(self.loop.selector, self.loop.timers, lambda path: self.files.get(path, []))
        self.end = self.feed.open(["settings", {}])
        self.end.setblocking(False)
        assert self.next() == ["settings", {}]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until `condition` is true."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline
            self.loop.turn(time.monotonic() + 0.01)

    def next(self) -> Any:
        """Return the next message."""
        packets: list[bytes] = []
        self.turn_until(lambda: self._read(packets))
        return json.loads(packets[0])

    def _read(self, packets: list[bytes]) -> bool:
        try:
            packets.append(self.end.recv(1 << 20))
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close all."""
        self.feed.close()
        self.end.close()
        self.loop.close()


@pytest.fixture
def told() -> Iterator[Told]:
    """One with nothing said."""
    with closing(Told()) as made:
        yield made


def test_files_then_the_others(told: Told) -> None:
    """What changed comes first, as it is when it is sent, each message a packet; then the rest, in order."""
    told.feed.send(["supervisor", {"at": 1}])
    told.feed.send(["event", {"id": 7}])
    told.feed.changed("/a")
    told.feed.changed("/b")
    told.files["/a"] = [["file", {"path": "/a", "name": "\udcff\n"}], ["regions", "/a", []]]
    told.files["/b"] = [["gone", "/b"]]
    assert [told.next() for _ in range(5)] == [
        *told.files["/a"],
        *told.files["/b"],
        ["supervisor", {"at": 1}],
        ["event", {"id": 7}],
    ]


def test_changes_are_put_together(told: Told) -> None:
    """A file that changes all the time is told once an interval, as it was then; the last change is told too."""
    count, started = 0, time.monotonic()
    received: list[int] = []
    while len(received) < 3:
        assert time.monotonic() < started + DEADLINE
        count += 1
        told.files["/a"] = [["file", count]]
        told.feed.changed("/a")
        told.loop.turn(time.monotonic())
        packets: list[bytes] = []
        if told._read(packets):
            received.append(json.loads(packets[0])[1])
    assert count > 100 * len(received)
    if received[-1] != count:
        assert told.next() == ["file", count]


def test_who_does_not_read_is_not_waited_for(told: Told) -> None:
    """With the socket full the loop goes on, the files that changed wait as names, and all is told in the end."""
    for number in range(3000):
        told.files[f"/{number}"] = [["file", {"path": f"/{number}", "text": "x" * 2000}]]
        told.feed.changed(f"/{number}")
    told.turn_until(told.feed.unread)
    turns = 0

    def busy() -> bool:
        nonlocal turns
        turns += 1
        return turns == 200

    told.turn_until(busy)
    for number in range(3000):
        told.files[f"/{number}"] = [["file", {"path": f"/{number}", "text": "y"}]]
        told.feed.changed(f"/{number}")
    last: dict[str, str] = {}
    while len(last) < 3000 or set(last.values()) != {"y"}:
        _, status = told.next()
        last[status["path"]] = status["text"]
    told.turn_until(lambda: not told.feed.unread())


def test_too_many_events(told: Told) -> None:
    """The oldest of events that wait are dropped."""
    for number in range(5000):
        told.feed.send(["event", number])
    assert told.next() == ["event", 4000]


def test_a_message_that_is_too_large(told: Told) -> None:
    """It is left out, and the rest is told."""
    told.files["/a"] = [["file", "x" * 4_000_000], ["file", "small"]]
    told.feed.changed("/a")
    assert told.next() == ["file", "small"]


def test_the_end(told: Told) -> None:
    """A reader that has gone harms nobody; a new one gets only what is said from then on."""
    told.feed.changed("/a")
    told.files["/a"] = [["file", 1]]
    told.end.close()
    told.turn_until(lambda: not told.feed.unread())
    told.feed.send(["event", 1])
    told.loop.turn(time.monotonic())
    told.end = told.feed.open(["settings", {}])
    told.end.setblocking(False)
    told.feed.send(["event", 2])
    assert [told.next(), told.next()] == [["settings", {}], ["event", 2]]


def test_without_a_reader() -> None:
    """Nothing is kept for one who isn't there, and nothing read."""
    with closing(Told()) as told:
        told.feed.close()
        assert told.end.recv(1) == b""
        told.feed.changed("/a")
        told.feed.send(["event", 1])
        assert not told.feed.unread()
        assert told.loop.timers.next_due() is None
        assert isinstance(told.end, socket.socket)
