"""The feed messages about a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.control.status import StatusSource
from supervisor.fleet import membership
from supervisor.fleet.fleet import Fleet
from supervisor.web.feed_messages import file_messages
from supervisor.web.feed_sender import Message
from tests.unit.fleets import small_fleet, status_of


def messages(fleet: Fleet, path: str) -> Iterator[Message]:
    """Yield the messages about a file."""
    return file_messages(StatusSource(fleet, lambda _filemap: None), path)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet that has one file and has not started."""
    with small_fleet(tmp_path) as made:
        yield made


def test_regions_are_sent_when_they_are_new(fleet: Fleet) -> None:
    """The regions follow the status once, and again after I/O."""
    filemap = fleet.filemaps["/x"]
    status = ["file", status_of(fleet, filemap)]
    assert list(messages(fleet, "/x")) == [status]
    filemap.placement.set_pieces([8], [16])
    assert list(messages(fleet, "/x")) == [status, ["regions", "/x", [(8, 16, 0)]]]
    assert list(messages(fleet, "/x")) == [status]
    filemap.placement.add_ios([5])
    assert list(messages(fleet, "/x")) == [status, ["regions", "/x", [(8, 16, 5)]]]


def test_a_renamed_file_is_sent_again(fleet: Fleet) -> None:
    """The regions are sent again with the new path."""
    filemap = fleet.filemaps["/x"]
    filemap.placement.set_pieces([8], [16])
    list(messages(fleet, "/x"))
    membership._rename(fleet, filemap, replace(filemap.spec, path="/y"))
    assert list(messages(fleet, "/x")) == [["gone", "/x"]]
    assert ["regions", "/y", [(8, 16, 0)]] in list(messages(fleet, "/y"))


def test_a_removed_file_is_gone(fleet: Fleet) -> None:
    """A file that is not followed is sent as gone."""
    assert list(messages(fleet, "/y")) == [["gone", "/y"]]
