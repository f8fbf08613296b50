"""The benchmark runs and its output can be read. An update sends the expected number of messages."""

from __future__ import annotations

import fcntl  # noqa: TID251 - to count its calls
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest

from bench.counting import counting
from bench.hosts import OF_FILE, OF_HOST, counted
from bench.results import load
from bench.volume import Volume, append_pieces, punch, volume
from dmstats import ioctl
from dmstats.fiemap import read_structs
from dmstats.filemap import create_regions_from_fd, update_regions_from_fd
from tests.kernel import oracle

EXTENTS = 1000
T = TypeVar("T")


def test_a_quick_run(tmp_path: Path) -> None:
    """A run of two measurements logs its progress, prints the table and writes all figures. Compared with
    itself nothing got worse."""
    path = tmp_path / "run.json"
    bench = [sys.executable, "-m", "bench"]
    done = subprocess.run(
        [*bench, "--quick", "--only", "one-more", "map", "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith(("1/2 ", "2/2 "))] == [
        "1/2 one-more: one more extent",
        "2/2 map: a file mapped from nothing",
    ]
    assert max(len(line) for line in lines if "FLOOR" in line or "@stats_" in line) <= 80
    made = load(path)
    assert made.made.quick
    assert made.made.kernel == f"Linux {os.uname().release}"
    one, mapped = made.row("one more extent at 200"), made.row("map 200 extents from nothing")
    assert one is not None
    assert mapped is not None
    for row in (one, mapped):
        samples = [*row.filemapd, *row.floor]
        assert len(samples) == 3 + 3
        assert min(samples) > 0
    messages = {row.name: row.filemapd[0] for row in made.rows if row.unit == "count"}
    assert messages["one more extent at 200: @stats_create"] == 1
    assert messages["map 200 extents from nothing: @stats_create"] == 200
    again = subprocess.run(
        [*bench, "compare", str(path), str(path)], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout


def test_how_cost_grows(tmp_path: Path) -> None:
    """A quick run has points of each series at two sizes, and whole numbers for a scrape's parts per file and
    per host. All of it is drawn."""
    path = tmp_path / "run.json"
    bench = [sys.executable, "-m", "bench"]
    names = ("series", "extents", "files")
    done = subprocess.run(
        [*bench, "--quick", "--only", *names, "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = load(path)
    sizes: dict[str, list[int]] = {}
    for row in made.rows:
        sizes.setdefault(row.series, []).append(row.size)
    assert sizes == {
        "": [0, 0],
        "update": [50, 100],
        "update-other": [50, 100],
        "start": [1, 2],
        "idle-cpu": [1, 2],
        "pss": [1, 2],
    }
    series = counted(made)
    assert series is not None
    rows = [made.row(name) for name in (OF_FILE, OF_HOST)]
    assert [row.filemapd for row in rows if row is not None] == [(series.file,), (series.host,)]
    assert series.file > series.host > 0
    drawn = subprocess.run([*bench, "plot", str(path), str(tmp_path)], check=False)
    assert drawn.returncode == 0
    assert {"growth-hosts.svg", "growth-memory.svg", "growth-update.svg"} <= {
        file.name for file in tmp_path.iterdir()
    }


@pytest.fixture(scope="module")
def disk() -> Iterator[Volume]:
    """An ext4 with room for a file in many pieces."""
    with volume(64) as made:
        yield made


def test_messages_of_an_update(disk: Volume) -> None:
    """Mapping 1,000 extents takes one create each and one set_aux. An update without changes only lists. One
    more extent is one create and one set_aux, and the file is covered exactly."""
    fd = disk.fragmented("image", EXTENTS)
    with counting() as messages:
        (group_id, *_) = create_regions_from_fd(fd)
    assert messages.kinds() == {"list": 1, "create": EXTENTS, "set_aux": 1}
    with counting() as messages:
        update_regions_from_fd(fd, group_id)
    assert messages.kinds() == {"list": 1}
    append_pieces(fd, 1)
    with counting() as messages:
        ids = update_regions_from_fd(fd, group_id)
    assert messages.kinds() == {"list": 1, "create": 1, "set_aux": 1}
    assert oracle.assert_exact_cover(disk.folder / "image", disk.name, group_id) == list(ids)


def test_messages_of_scattered_changes(disk: Volume) -> None:
    """When a tenth of many scattered extents is replaced, only their regions are deleted and created. The new
    regions reuse the freed ids, and dmstats can edit the tag."""
    extents, part = 2 * EXTENTS, EXTENTS // 5
    path = disk.folder / "scattered"
    disk.clear()
    fd = disk.fragmented(path.name, extents)
    (group_id, *_) = create_regions_from_fd(fd)
    append_pieces(fd, part)
    punch(fd, [2 * piece for piece in sorted(random.Random(1).sample(range(1, extents), part))])
    with counting() as messages:
        ids = update_regions_from_fd(fd, group_id)
    sent = messages.kinds()
    assert sent.pop("set_aux") <= 1 + part // 50
    assert sent == {"list": 1, "create": part, "print": part, "delete": part}
    assert ids == tuple(range(extents))
    assert oracle.assert_exact_cover(path, disk.name, group_id) == list(ids)
    oracle.run("dmstats", "delete", "--regionid", "7", disk.name)
    assert f":0-6,8-{extents - 1}#" in oracle.message(disk.name, "@stats_list").decode()


def test_calls_of_fiemap(disk: Volume) -> None:
    """The extents of a file are read in one call if they were read before or are few."""
    fd = disk.fragmented("many", EXTENTS)
    structs, calls = counted_ioctls(partial(read_structs, fd))
    assert calls <= 4
    assert counted_ioctls(partial(read_structs, fd, EXTENTS)) == (structs, 1)
    assert counted_ioctls(partial(read_structs, disk.fragmented("few", 32)))[1] == 1


def test_a_large_buffer_is_released(disk: Volume) -> None:
    """The buffer of a long table can be released, and the next read still takes one call."""
    disk.clear()
    create_regions_from_fd(disk.fragmented("buffer", EXTENTS))
    text = disk.device.list_text()
    assert len(ioctl._buffer) > len(text) > ioctl._FIRST_BUFFER
    ioctl.release_buffer()
    assert len(ioctl._buffer) == ioctl._FIRST_BUFFER
    assert counted_ioctls(disk.device.list_text) == (text, 1)


def counted_ioctls(work: Callable[[], T]) -> tuple[T, int]:
    """Return the result of `work` and the number of its ioctls."""
    calls = 0

    def count(_frame: FrameType, event: str, function: object) -> None:
        nonlocal calls
        calls += event == "c_call" and function is fcntl.ioctl

    sys.setprofile(count)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return result, calls
