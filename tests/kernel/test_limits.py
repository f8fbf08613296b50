"""Limits: the regions of a file and of a device, and memory that the kernel refuses."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.device import Device
from sandbox.devices import Filesystem, filesystem
from tests.kernel import fault, oracle
from tests.kernel.changes import CHANGES, KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.running import running, wait_for, write


@pytest.fixture
def fs() -> Iterator[Filesystem]:
    """A file system of its own for each test."""
    with filesystem("ext4", size_mb=200) as made:
        yield made


def comb(file: Path, teeth: int) -> None:
    """Create a file of 1 MiB extents, with holes between them that grow in steps of 4 KiB."""
    write(file, teeth + 1)
    with opened(file) as fd:
        for i in range(teeth):
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, (i + 1) * MIB - (i + 1) * 4096, (i + 1) * 4096)


def fill_memory(fs: Filesystem) -> list[int]:
    """Create another program's regions, with areas of one sector, until the kernel refuses even the smallest.
    Return their ids."""
    made = []
    size = fs.device.sectors
    while size:
        try:
            made.append(int(oracle.message(fs.device.name, f"@stats_create 0+{size} 1 0 filler -")))
        except AssertionError as error:
            assert "Cannot allocate memory" in str(error) or "Value too large" in str(error)  # noqa: PT017
            size //= 2
    return made


def test_regions_of_a_file(fs: Filesystem, tmp_path: Path) -> None:
    """Beyond max_regions the largest extents are covered, and nothing else; the covered share is reported."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    comb(file, 9)
    assert len(oracle.extents(file)) == 10
    config = {"filemaps": [{"path": str(file)}], "defaults": {"max_regions": 4}}
    with running(tmp_path, config) as supervisor:
        filemap = supervisor.wait_state(file)
        rows = oracle.rows(name)
        assert len(rows) == filemap["regions"] == 4
        covered = [sector for row in rows for sector in range(row.start, row.start + row.length)]
        own = oracle.sectors_of(file)
        assert len(covered) == len(set(covered) & own)
        assert len(covered) * 512 == sum(
            sorted((one.length for one in oracle.extents(file)), reverse=True)[:4]
        )
        assert filemap["uncovered_bytes"] == (len(own) - len(covered)) * 512
        assert filemap["covered_share"] == pytest.approx(len(covered) / len(own), abs=1e-4)
        assert filemap["excess_bytes"] == 0
        assert "max_regions of the file" in filemap["degraded"]
        oracle.run("fallocate", "-p", "-o", "0", "-l", str(7 * MIB), str(file))

        def exact() -> bool:
            oracle.assert_exact_cover(file, name)
            return bool(supervisor.filemap(file)["covered_share"] == 1)

        wait_for("exact again, as few extents are left", exact)
        assert supervisor.filemap(file)["degraded"] is None


def test_regions_of_a_device(fs: Filesystem, tmp_path: Path) -> None:
    """Other programs' regions count towards the device's budget; each file always has one region."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    comb(file, 5)
    device = Device(fs.device.dev_t)
    others = [device.create(n * 8, 8, program="other") for n in range(8)]
    config = {"filemaps": [{"path": str(file)}], "devices": {"max_regions": 10}}
    with running(tmp_path, config) as supervisor:
        filemap = supervisor.wait_state(file)
        assert filemap["regions"] == 2
        assert "the budget of the device" in filemap["degraded"]
        for number in others:
            device.delete(number)
        CHANGES["append"](file)
        wait_for("all fit now", lambda: bool(oracle.assert_exact_cover(file, name)))

        supervisor.write({**config, "devices": {"max_regions": 3}})
        answer = json.loads(supervisor.command("reload", "--json").stdout)
        assert answer == {"added": [], "changed": [], "removed": []}
        wait_for("another limit holds after a reload", lambda: len(oracle.rows(name)) == 3)
        supervisor.write(config)
        assert supervisor.command("reload").returncode == 0
        wait_for("all fit again", lambda: bool(oracle.assert_exact_cover(file, name)))


def test_memory_refused(fs: Filesystem, tmp_path: Path) -> None:
    """ENOMEM for creates leaves the file degraded with the regions that fit. The rest is created once there
    is memory again."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    write(file, 2)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}, fault.program(tmp_path)) as supervisor:
        before = supervisor.wait_state(file)
        (tmp_path / "refuse").write_text(str(errno.ENOMEM))
        CHANGES["append"](file)

        def degraded() -> bool:
            filemap = supervisor.filemap(file)
            assert filemap["degraded"] is not None, filemap
            assert "ENOMEM" in filemap["degraded"]
            return bool(filemap["uncovered_bytes"] == MIB)

        wait_for("the excess is reported", degraded)
        assert oracle.groups(name)[before["group_id"]], "the existing regions stay"
        (tmp_path / "refuse").unlink()
        wait_for("it is tried again", lambda: bool(oracle.assert_exact_cover(file, name)))
        wait_for("nothing is degraded", lambda: supervisor.filemap(file)["degraded"] is None)
        filemap = supervisor.filemap(file)
        assert (filemap["restarts"], filemap["pid"]) == (0, before["pid"])


def test_kernel_refuses_memory_itself(fs: Filesystem, tmp_path: Path) -> None:
    """The kernel's own limit, a quarter of the memory, is reached by another program's region and degrades a
    file."""
    file, name = fs.mountpoint / "disk.img", fs.device.name
    write(file, 2)
    device = Device(fs.device.dev_t)
    fillers = fill_memory(fs)
    with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
        wait_for(
            "the refusal is reported", lambda: "ENOMEM" in (supervisor.filemap(file).get("degraded") or "")
        )
        for number in fillers:
            device.delete(number)
        wait_for("it is tried again", lambda: bool(oracle.assert_exact_cover(file, name)))
        wait_for("nothing is degraded", lambda: supervisor.filemap(file)["degraded"] is None)
