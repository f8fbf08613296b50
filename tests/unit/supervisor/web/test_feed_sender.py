"""What arrives at the other end of the feed, over a real socket and in a real loop."""

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


class Receiver:
    """An event loop with a feed, and its receiving end. `files` are the messages for each path."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.files: dict[str, list[Message]] = {}
        self.feed = FeedSender(self.loop.selector, self.loop.timers, lambda path: self.files.get(path, []))
        self.end = self.feed.open(["settings", {}])
        self.end.setblocking(False)
        assert self.next() == ["settings", {}]

    def turn_until(self, condition: Callable[[], bool]) -> None:
        """Run the loop until `condition` is true."""
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
def receiver() -> Iterator[Receiver]:
    """A receiver without messages."""
    with closing(Receiver()) as made:
        yield made


def test_files_then_the_others(receiver: Receiver) -> None:
    """Changed files come first with their current status, then the other messages in order."""
    receiver.feed.send(["supervisor", {"at": 1}])
    receiver.feed.send(["event", {"id": 7}])
    receiver.feed.changed("/a")
    receiver.feed.changed("/b")
    receiver.files["/a"] = [["file", {"path": "/a", "name": "\udcff\n"}], ["regions", "/a", []]]
    receiver.files["/b"] = [["gone", "/b"]]
    assert [receiver.next() for _ in range(5)] == [
        *receiver.files["/a"],
        *receiver.files["/b"],
        ["supervisor", {"at": 1}],
        ["event", {"id": 7}],
    ]


def test_changes_are_merged(receiver: Receiver) -> None:
    """A file that changes all the time is sent once an interval. The last change is sent too."""
    count, started = 0, time.monotonic()
    received: list[int] = []
    while len(received) < 3:
        assert time.monotonic() < started + DEADLINE
        count += 1
        receiver.files["/a"] = [["file", count]]
        receiver.feed.changed("/a")
        receiver.loop.turn(time.monotonic())
        packets: list[bytes] = []
        if receiver._read(packets):
            received.append(json.loads(packets[0])[1])
    assert count > 100 * len(received)
    if received[-1] != count:
        assert receiver.next() == ["file", count]


def test_a_slow_reader_does_not_block(receiver: Receiver) -> None:
    """With a full socket the loop continues, changed files wait as paths, and all are sent in the end."""
    for number in range(3000):
        receiver.files[f"/{number}"] = [["file", {"path": f"/{number}", "text": "x" * 2000}]]
        receiver.feed.changed(f"/{number}")
    receiver.turn_until(receiver.feed.unread)
    turns = 0

    def busy() -> bool:
        nonlocal turns
        turns += 1
        return turns == 200

    receiver.turn_until(busy)
    for number in range(3000):
        receiver.files[f"/{number}"] = [["file", {"path": f"/{number}", "text": "y"}]]
        receiver.feed.changed(f"/{number}")
    last: dict[str, str] = {}
    while len(last) < 3000 or set(last.values()) != {"y"}:
        _, status = receiver.next()
        last[status["path"]] = status["text"]
    receiver.turn_until(lambda: not receiver.feed.unread())


def test_too_many_events(receiver: Receiver) -> None:
    """The oldest waiting events are dropped."""
    for number in range(5000):
        receiver.feed.send(["event", number])
    assert receiver.next() == ["event", 4000]


def test_a_message_that_is_too_large(receiver: Receiver) -> None:
    """It is skipped, and the others are sent."""
    receiver.files["/a"] = [["file", "x" * 4_000_000], ["file", "small"]]
    receiver.feed.changed("/a")
    assert receiver.next() == ["file", "small"]


def test_the_end(receiver: Receiver) -> None:
    """A closed reader does no harm. A new one gets only later messages."""
    receiver.feed.changed("/a")
    receiver.files["/a"] = [["file", 1]]
    receiver.end.close()
    receiver.turn_until(lambda: not receiver.feed.unread())
    receiver.feed.send(["event", 1])
    receiver.loop.turn(time.monotonic())
    receiver.end = receiver.feed.open(["settings", {}])
    receiver.end.setblocking(False)
    receiver.feed.send(["event", 2])
    assert [receiver.next(), receiver.next()] == [["settings", {}], ["event", 2]]


def test_without_a_reader() -> None:
    """Without a reader nothing is queued."""
    with closing(Receiver()) as receiver:
        receiver.feed.close()
        assert receiver.end.recv(1) == b""
        receiver.feed.changed("/a")
        receiver.feed.send(["event", 1])
        assert not receiver.feed.unread()
        assert receiver.loop.timers.next_due() is None
        assert isinstance(receiver.end, socket.socket)
