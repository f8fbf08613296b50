"""What the web process is told of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor import membership
from supervisor.fleet import Fleet
from supervisor.status import status_of
from supervisor.telling import about_file
from tests.unit.fleets import small_fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet that has one file and has not started."""
    with small_fleet(tmp_path) as made:
        yield made


def test_regions_are_told_when_they_are_new(fleet: Fleet) -> None:
    """Where a file lies is told after its status, once; then again when there was I/O."""
    filemap = fleet.filemaps["/x"]
    status = ["file", status_of(fleet, filemap)]
    assert list(about_file(fleet, "/x")) == [status]
    filemap.placed.moved([8], [16])
    assert list(about_file(fleet, "/x")) == [status, ["regions", "/x", [(8, 16, 0)]]]
    assert list(about_file(fleet, "/x")) == [status]
    filemap.placed.counted([5])
    assert list(about_file(fleet, "/x")) == [status, ["regions", "/x", [(8, 16, 5)]]]


def test_a_renamed_file_is_told_anew(fleet: Fleet) -> None:
    """Who is told of it under its new name is told where it lies, as it knows that only of the old one."""
    filemap = fleet.filemaps["/x"]
    filemap.placed.moved([8], [16])
    list(about_file(fleet, "/x"))
    membership._rename(fleet, filemap, replace(filemap.wanted, path="/y"))
    assert list(about_file(fleet, "/x")) == [["gone", "/x"]]
    assert ["regions", "/y", [(8, 16, 0)]] in list(about_file(fleet, "/y"))


def test_what_is_not_there_is_gone(fleet: Fleet) -> None:
    """A file that is not followed any more is told as gone."""
    assert list(about_file(fleet, "/y")) == [["gone", "/y"]]
