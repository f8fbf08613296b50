"""The exported numbers equal the I/O done, exactly, for each of two images at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.driver import Driver
from tests.kernel.running import Running, running, wait_for, write
from tests.kernel.scraping import Samples, free_port, listen, scrape

NAMES = ("reads_completed", "writes_completed", "read_bytes", "written_bytes")


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


class Scrapes:
    """Scrapes without a pause during the test; no counter may decrease from one scrape to the next."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._last: Samples = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0
        self.went_back: list[tuple[tuple[str, str], float, float]] = []

    def _run(self) -> None:
        while not self._over.is_set():
            found = scrape(self._port)
            self.went_back += [
                (key, self._last[key], value)
                for key, value in found.items()
                if key[0].endswith(("_total", "_count", "_sum")) and value < self._last.get(key, 0)
            ]
            self._last, self.count = found, self.count + 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def at_once(*work: tuple[Driver, int, int, int]) -> None:
    """Make all drivers write and then read that many blocks at an offset in MiB, at the same time. Blocks
    never written would be read without I/O."""

    def run(drive: Driver, writes: int, reads: int, at: int) -> None:
        drive.write(writes, at)
        drive.read(reads, at)

    threads = [threading.Thread(target=run, args=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def exported(port: int, *drives: Driver) -> bool:
    """Fail unless exactly the I/O done is exported: in number, in bytes, and in the histogram with its
    sum."""
    found = scrape(port)
    for drive in drives:
        name = drive.file.name
        counters = [found[f"file_{what}_total", name] for what in NAMES]
        assert counters == [drive.reads, drive.writes, drive.reads * drive.block, drive.writes * drive.block]
        assert found["file_io_latency_seconds_count", name] == drive.reads + drive.writes
        spent = sum(found[f"file_{what}_time_seconds_total", name] for what in ("read", "write"))
        assert found["file_io_latency_seconds_sum", name] == pytest.approx(spent, rel=1e-12)
        assert spent > 0
    return True


def followed(fs: Filesystem, *files: Path) -> bool:
    """Fail unless the groups cover exactly the files."""
    for file in files:
        oracle.assert_exact_cover(file, fs.device.name)
    oracle.assert_no_orphan(fs.device.name)
    return True


def images(fs: Filesystem) -> tuple[Path, Path]:
    """Return two files of two extents each, whose initial writes no region counted."""
    one, two = fs.mountpoint / "one.img", fs.mountpoint / "two.img"
    for at in (0, 8):
        for file in (one, two):
            write(file, 4, at)
    os.sync()
    assert [len(oracle.extents(file)) for file in (one, two)] == [2, 2]
    return one, two


def grow(supervisor: Running, fs: Filesystem, *files: Path) -> None:
    """Add two extents to each file."""
    for at in (14, 18):
        for file in files:
            with opened(file) as fd:
                fallocate(fd, 0, at * MIB, 2 * MIB)
    wait_for("the growth is followed", lambda: followed(fs, *files))
    wait_for("that is reported", lambda: all(supervisor.filemap(file)["regions"] >= 3 for file in files))


def move(supervisor: Running, fs: Filesystem, *files: Path) -> None:
    """Free the start of each file, the place of its group's leader."""
    for file in files:
        with opened(file) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, 4 * MIB)
    wait_for("the groups have moved", lambda: followed(fs, *files))
    wait_for("the moves are reported", lambda: all(supervisor.filemap(file)["moves"] for file in files))


def test_two_images_at_once(fs: Filesystem, tmp_path: Path) -> None:
    """Each image's exported numbers equal its I/O exactly, while both are read and written at once in blocks
    of different size, over growth and a move of both groups. No counter ever decreases."""
    one, two = images(fs)
    first, second = Driver(one), Driver(two, 65536)
    port = free_port()
    config = {
        "filemaps": [{"path": str(one)}, {"path": str(two)}],
        "defaults": {"sample": "1s"},
        **listen(port),
    }
    with running(tmp_path, config) as supervisor:
        for file in (one, two):
            supervisor.wait_state(file)
        wait_for("it serves", lambda: scrape(port))
        with Scrapes(port) as scrapes:
            at_once((first, 50, 100, 0), (second, 45, 30, 0))
            wait_for("all is exported", lambda: exported(port, first, second))
            grow(supervisor, fs, one, two)
            at_once((first, 80, 60, 14), (second, 32, 31, 14))
            wait_for("growth keeps it exact", lambda: exported(port, first, second))
            at_once((first, 0, 17, 0), (second, 19, 0, 8))
            move(supervisor, fs, one, two)
            at_once((first, 40, 70, 8), (second, 25, 20, 18))
            wait_for("so does a move", lambda: exported(port, first, second))
        assert scrapes.count > 10
        assert scrapes.went_back == []
        found = scrape(port)
        assert [found["group_moves_total", file.name] >= 1 for file in (one, two)] == [True, True]
