"""Which files are to be looked at, by real inotify events; the time is passed in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from workers.watch import SWEEP, Watch


@pytest.fixture
def watch() -> Iterator[Watch]:
    """A watch of its own for each test."""
    with closing(Watch()) as made:
        yield made


def turn(watch: Watch, now: float) -> list[str]:
    """Take in what happened and have a look at all files whose turn it is, which finds nothing; return their keys."""
    watch.read(now)
    keys = [key for key, _ in watch.due(now)]
    for key in keys:
        watch.looked(key, now, changed=False, landing=False, joinable=False)
    return keys


def test_one_that_is_written_all_the_time(watch: Watch, tmp_path: Path) -> None:
    """Its events are waited with, and it is compared often meanwhile; what the comparison finds is looked at soon. A
    file that is left alone is not compared, nor is one that is not watched any more."""
    file, other = tmp_path / "written", tmp_path / "quiet"
    opened = {}
    for one in (file, other):
        one.write_bytes(b"x")
        opened[one.name] = os.open(one, os.O_PATH)
        watch.add(one.name, opened[one.name], None)
    now = 1000.0
    for _ in range(12):
        with file.open("r+b") as written:
            written.write(b"y")
        turn(watch, now)
        now += 0.5
    other.write_bytes(b"more")
    assert watch.sweep_busy(now) < SWEEP / 2
    assert turn(watch, now) == ["quiet"], "its event tells of it; it is not compared"
    file.write_bytes(b"more")
    assert turn(watch, now) == [], "its event is waited with"
    watch.sweep_busy(now)
    now += 0.5
    assert turn(watch, now) == ["written"]
    for key, fd in opened.items():
        watch.forget(key)
        os.close(fd)
    assert watch.sweep_busy(now) == SWEEP / 2
