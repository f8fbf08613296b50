"""The latest messages of the feed."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.web.state.store import MAX_EVENTS, Store


def test_keeps_the_latest_of_each_kind() -> None:
    """The last message of each file and of the supervisor is kept. A removed file is dropped."""
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
    for number in range(MAX_EVENTS + 3):
        store.put(["event", {"id": number}])
    assert [event["id"] for event in store.events] == list(range(3, MAX_EVENTS + 3))


def test_listeners_are_called_after_the_update() -> None:
    """A listener is called with each message, after the store is updated."""
    store, seen = Store(), []
    store.listen(lambda message: seen.append((message[0], dict(store.files))))
    store.put(["file", {"path": "/a"}])
    store.put(["gone", "/a"])
    assert seen == [("file", {"/a": {"path": "/a"}}), ("gone", {})]


@pytest.mark.parametrize(
    "message", [[], ["file"], ["file", {}], ["gone", 3], ["other", 1], {"file": 1}, None]
)
def test_invalid_messages_are_refused(message: Any) -> None:
    """An invalid message is an error and changes nothing."""
    store = Store()
    with pytest.raises(ValueError, match="invalid message"):
        store.put(message)
    assert store.files == {}
