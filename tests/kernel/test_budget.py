"""A device's budget of regions among fragmented images: each region is on its image's own sectors, and the regions go
where the I/O is."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.devices import Filesystem, filesystem
from supervisor.text.times import rfc3339
from tests.kernel import oracle
from tests.kernel.driver import Driver
from tests.kernel.running import Running, running, wait_for

IMAGES = 8
CLUSTERS = 60
KIB = 1024
BUDGET = 100


@pytest.fixture(params=["ext4", "xfs"])
def fs(request: pytest.FixtureRequest) -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem(request.param, size_mb=400) as made:
        yield made


def lay_out(fs: Filesystem) -> list[Path]:
    """Return images whose clusters of 64 KiB lie between one another's."""
    files = [fs.mountpoint / f"vm{number}.img" for number in range(IMAGES)]
    opened = [os.open(file, os.O_RDWR | os.O_CREAT) for file in files]
    for cluster in range(CLUSTERS):
        for fd in opened:
            os.pwrite(fd, b"x" * 64 * KIB, cluster * 128 * KIB)
            os.fdatasync(fd)
    for fd in opened:
        os.close(fd)
    os.sync()
    assert all(len(oracle.extents(file)) > CLUSTERS / 2 for file in files)
    return files


def assert_own_sectors(files: list[Path], device: str) -> None:
    """Fail unless each region is on the sectors of the image that its mark or group names."""
    listed = oracle.rows(device)
    members = oracle.groups(device)
    assert len(listed) <= BUDGET, len(listed)
    for file in files:
        (group,) = oracle.groups_of(file, device, listed)
        own = oracle.sectors_of(file)
        for row in listed:
            if row.id in members[group]:
                assert own.issuperset(range(row.start, row.start + row.length)), (file, row)


def test_one_busy_image(fs: Filesystem, tmp_path: Path) -> None:
    """The budget holds while all workers start. The image that is read is covered whole, its I/O is its own, and
    the others have none of it; a restart leaves the regions where they are."""
    files, device = lay_out(fs), fs.device.name
    busy = Driver(files[3], 4 * KIB)
    order = random.Random(7)

    def read(count: int) -> None:
        for _ in range(count):
            busy.read_at(order.randrange(CLUSTERS) * 128 * KIB + order.randrange(16) * 4 * KIB)

    config = {
        "filemaps": [{"path": str(file), "sample": "1s"} for file in files],
        "devices": {"max_regions": BUDGET},
    }
    with running(tmp_path, config) as supervisor:
        for file in files:
            wait_for("it is mapped within the budget", lambda: len(oracle.rows(device)) <= BUDGET)
            assert 0 < supervisor.wait_state(file)["covered_share"] < 1
        assert_own_sectors(files, device)

        def covered() -> bool:
            read(50)
            assert len(oracle.rows(device)) <= BUDGET
            return bool(supervisor.filemap(busy.file)["covered_share"] == 1)

        wait_for("the busy image is covered whole", covered, deadline=120)
        assert_own_sectors(files, device)
        done = rfc3339(time.time()) or ""
        wait_for("all are counted", lambda: str(supervisor.filemap(busy.file)["sampled_at"]) > done)
        before = counted(supervisor)
        read(1000)

        def exact() -> bool:
            now = counted(supervisor)
            assert now[busy.file] - before[busy.file] == 1000
            return True

        wait_for("its reads are counted", exact)
        now = counted(supervisor)
        assert [now[file] - before[file] for file in files if file != busy.file] == [0] * (IMAGES - 1)
        (status,) = supervisor.status()["devices"]
        assert (status["max_regions"], status["grants"] > 0) == (BUDGET, True)
        regions = supervisor.filemap(busy.file)["regions"]
        assert supervisor.stop() == 0
        supervisor.again()
        assert supervisor.wait_state(busy.file)["regions"] == regions
        assert_own_sectors(files, device)


def counted(supervisor: Running) -> dict[Path, int]:
    """Return the reads that are reported of each image."""
    return {Path(one["path"]): one["reads"] for one in supervisor.status()["filemaps"]}
