"""What the web process keeps of the feed."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.web.state.store import EVENTS_KEPT, Store


def test_keeps_the_latest_of_each_kind() -> None:
    """Of a file and of the supervisor the last message counts; a file that is gone is no more."""
    store = Store()
    for message in (
        ["file", {"path": "/a", "reads": 1}],
        ["file", {"path": "/b", "reads": 5}],
        ["file", {"path": "/a", "reads": 2}],
        ["supervisor", {"version": "1"}],
        ["supervisor", {"version": "2"}],
    ):
        store.put(message)
    assert store.files == {"/a": {"path": "/a", "reads": 2}, "/b": {"path": "/b", "reads": 5}}
    assert store.supervisor == {"version": "2"}
    store.put(["gone", "/a"])
    assert list(store.files) == ["/b"]


def test_events_are_bounded() -> None:
    """The newest events are kept, in order."""
    store = Store()
    for number in range(EVENTS_KEPT + 3):
        store.put(["event", {"id": number}])
    assert [event["id"] for event in store.events] == list(range(3, EVENTS_KEPT + 3))


def test_who_listens_finds_the_message_in_the_store() -> None:
    """A listener is called with each message, after the store has taken it."""
    store, told = Store(), []
    store.listen(lambda message: told.append((message[0], dict(store.files))))
    store.put(["file", {"path": "/a"}])
    store.put(["gone", "/a"])
    assert told == [("file", {"/a": {"path": "/a"}}), ("gone", {})]


@pytest.mark.parametrize(
    "message", [[], ["file"], ["file", {}], ["gone", 3], ["other", 1], {"file": 1}, None]
)
def test_other_messages_are_refused(message: Any) -> None:
    """What is no message of the feed is an error, and changes nothing."""
    store = Store()
    with pytest.raises(ValueError, match="no message of the feed"):
        store.put(message)
    assert store.files == {}
