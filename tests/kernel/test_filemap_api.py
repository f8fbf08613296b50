"""Groups that are created for a file and updated, against filefrag's extents."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dmstats.filemap import create_regions_from_fd, start_filemapd, update_regions_from_fd
from dmstats.files import identify
from dmstats.marker import Mark, start_time
from dmstats.mode import FilemapdMode
from tests.kernel import oracle
from tests.kernel.conftest import KIB64, Disk, punch, punch_region, read_direct, sync

PATIENCE = 60.0


def check(disk: Disk, path: Path, ids: tuple[int, ...]) -> None:
    """Check that exactly these regions are the file's group and cover it exactly, and that no region is left
    over."""
    assert oracle.assert_exact_cover(path, disk.name) == list(ids)
    oracle.assert_no_orphan(disk.name)


def test_create(disk: Disk) -> None:
    """A group covers the file's extents, one region each, named after the file."""
    path = disk.pieces("vm.img", 4)
    ids = create_regions_from_fd(disk.open(path))
    assert ids == (0, 1, 2, 3)
    check(disk, path, ids)
    aux = oracle.rows(disk.name)[0].aux
    assert aux.startswith(b'DMS_GROUP="vm.img":0-3#filemapd.i%d.g' % path.stat().st_ino)
    assert {row.program for row in oracle.rows(disk.name)} == {b"dmstats"}


def test_create_with_everything(disk: Disk) -> None:
    """Alias, program, precise timestamps and bounds are as requested, on every region."""
    path = disk.pieces("vm.img", 3)
    others = disk.others_region()
    ids = create_regions_from_fd(
        disk.open(path), alias="my alias", precise=True, bounds=(100_000, 1_000_000), program_id="libvirt"
    )
    assert ids == (1, 2, 3)
    assert oracle.assert_exact_cover(path, disk.name) == [1, 2, 3]
    rows = oracle.rows(disk.name)
    assert [row.id for row in rows if row.program == b"theirs"] == [others]
    for row in rows[1:]:
        assert row.program == b"libvirt"
        assert row.aux.endswith(b" precise_timestamps histogram:100000,1000000")
    assert rows[1].aux.startswith(b'DMS_GROUP="my alias":1-3#')


def test_create_without_group(disk: Disk) -> None:
    """Without a group the regions cover the file, and no tag is written."""
    path = disk.pieces("vm.img", 3)
    ids = create_regions_from_fd(disk.open(path), group=False, bounds=(1_000_000,))
    assert oracle.groups(disk.name) == {}
    rows = oracle.rows(disk.name)
    assert tuple(row.id for row in rows) == ids
    assert [row.aux for row in rows] == [b"- histogram:1"] * 3
    covered = {sector for row in rows for sector in range(row.start, row.start + row.length)}
    assert covered == oracle.sectors_of(path)


@pytest.mark.parametrize("group", [True, False])
def test_create_is_undone_where_a_region_is_refused(disk: Disk, group: bool) -> None:
    """When the kernel refuses a region, here for bounds that don't increase, no region is left."""
    path = disk.pieces("vm.img", 2)
    with pytest.raises(OSError, match="EINVAL"):
        create_regions_from_fd(disk.open(path), group=group, precise=True, bounds=(5, 5))
    assert oracle.table(disk.name) == {}


def test_empty_file(disk: Disk) -> None:
    """An empty file gets no regions and is no error."""
    fd = disk.open(disk.folder / "empty")
    assert create_regions_from_fd(fd) == ()
    assert create_regions_from_fd(fd, group=False) == ()
    assert oracle.table(disk.name) == {}


def grow(path: Path) -> None:
    """Append to a file, and write into a hole of it."""
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"y" * KIB64, path.stat().st_size)
    os.pwrite(fd, b"y" * (KIB64 // 2), KIB64)
    os.fsync(fd)
    os.close(fd)


def halve(path: Path) -> None:
    """Truncate a file to half of its size, in the middle of an extent."""
    os.truncate(path, path.stat().st_size // 2 - KIB64 // 2 - KIB64)
    sync(path)


def punch_holes(path: Path) -> None:
    """Free a part of one extent and the whole of another."""
    punch(path, 4096, length=8192)
    punch(path, 4 * KIB64, length=KIB64)


@pytest.mark.parametrize("change", [grow, halve, punch_holes])
def test_update(disk: Disk, change: Callable[[Path], None]) -> None:
    """After the file grew, shrank or got holes its group covers it exactly. Regions that still fit don't
    change, and another update changes nothing."""
    path = disk.pieces("vm.img", 6)
    fd = disk.open(path)
    (group_id, *_) = create_regions_from_fd(fd)
    before = {row.id: (row.start, row.length) for row in oracle.rows(disk.name)}
    change(path)
    ids = update_regions_from_fd(fd, group_id)
    check(disk, path, ids)
    sectors = oracle.sectors_of(path)
    for number, (start, length) in before.items():
        if sectors >= set(range(start, start + length)):
            assert number in ids
    after = oracle.table(disk.name)
    assert update_regions_from_fd(fd, ids[0]) == ids
    assert oracle.table(disk.name) == after


def test_nothing_is_missed_after_updates_that_change_nothing(disk: Disk) -> None:
    """After updates without changes the next one still notices others' changes to the group, and a file that
    moved without changing in size."""
    path = disk.pieces("vm.img", 4)
    fd = disk.open(path)
    ids = create_regions_from_fd(fd)

    def move() -> None:
        os.pwrite(fd, b"z" * KIB64, 20 * KIB64)
        punch(path, 0, length=KIB64)

    spoils: list[Callable[[], None]] = [
        lambda: disk.stats.delete(ids[2]),
        lambda: disk.stats.set_aux(ids[0], disk.stats.list().regions[0].aux.replace("0-3", "0-3,9")),
        lambda: disk.stats.set_aux(ids[3], "DMS_GROUP=:3#-"),
        move,
    ]
    for spoil in spoils:
        for _ in range(3):
            assert update_regions_from_fd(fd, ids[0]) == ids
        spoil()
        ids = update_regions_from_fd(fd, ids[0])
        check(disk, path, ids)


def test_a_region_whose_maker_ends(disk: Disk) -> None:
    """A region that another process creates for the file is left alone while that process lives, also after
    many updates without changes. It joins the group once the process has ended, though nothing on the device
    has changed."""
    path = disk.pieces("vm.img", 2)
    fd = disk.open(path)
    ids = create_regions_from_fd(fd)
    maker = subprocess.Popen(["sleep", "1000"])
    started = start_time(maker.pid)
    assert started is not None
    file = identify(fd)
    disk.stats.create(0, 8, aux=str(Mark(file.inode, file.generation, maker.pid, started)))
    for _ in range(3):
        assert update_regions_from_fd(fd, ids[0]) == ids
    assert len(oracle.table(disk.name)) == 3
    maker.kill()
    maker.wait()
    assert update_regions_from_fd(fd, ids[0]) == ids
    check(disk, path, ids)


def test_growth_keeps_counters(disk: Disk) -> None:
    """Counters survive growth of the file."""
    path = disk.write("vm.img", 4 * KIB64)
    fd = disk.open(path)
    (group_id, *_) = create_regions_from_fd(fd)
    read_direct(path, 0, 5)
    grow(path)
    ids = update_regions_from_fd(fd, group_id)
    check(disk, path, ids)
    listing = {region.id: region for region in disk.stats.list().regions}
    assert sum(disk.stats.print(listing[number]).reads for number in ids) == 5


def test_truncated_to_nothing(disk: Disk) -> None:
    """A file without extents leaves no region behind; then there is no group to update."""
    path = disk.pieces("vm.img", 3)
    fd = disk.open(path)
    (group_id, *_) = create_regions_from_fd(fd)
    os.truncate(path, 0)
    sync(path)
    assert update_regions_from_fd(fd, group_id) == ()
    assert oracle.table(disk.name) == {}


@pytest.mark.parametrize("lower", [0, 7])
def test_leader_is_freed(disk: Disk, lower: int) -> None:
    """When the leader's extent is freed the group continues under its next lowest member, for group 0 and
    group 7: lvm2's daemon exits for the one and crashes for the other."""
    path = disk.pieces("vm.img", 4)
    fd = disk.open(path)
    others = [disk.others_region(8 * at) for at in range(lower)]
    ids = create_regions_from_fd(fd)
    assert ids[0] == lower
    punch_region(path, disk.name, lower)
    ids = update_regions_from_fd(fd, lower)
    assert ids == tuple(range(lower + 1, lower + 4))
    check(disk, path, ids)
    assert [row.id for row in oracle.rows(disk.name) if row.program == b"theirs"] == others


def test_group_moves_below_its_leader(disk: Disk) -> None:
    """A new region gets an id below the leader's, and the leader still exists: the tag moves, and the former
    leader bears none."""
    path = disk.pieces("vm.img", 3)
    fd = disk.open(path)
    for at in range(2):
        disk.others_region(8 * at)
    assert create_regions_from_fd(fd) == (2, 3, 4)
    disk.stats.delete(0)
    grow(path)
    ids = update_regions_from_fd(fd, 2)
    assert ids[0] == 0
    assert set(ids) >= {0, 2, 3, 4}
    check(disk, path, ids)


def test_many_scattered_removals(disk: Disk) -> None:
    """When every second of many extents is freed, the remaining ids would make a tag longer than libdm can
    edit. Enough regions are recreated for the list to fit, and dmstats reads it. lvm2's daemon fails
    half-way."""
    path = disk.pieces("vm.img", 700, 4096)
    fd = disk.open(path)
    ids = create_regions_from_fd(fd)
    assert ids == tuple(range(700))
    punch(path, *range(0, 700 * 8192, 16384), length=4096)
    assert len(str(list(range(1, 700, 2)))) > 1023
    ids = update_regions_from_fd(fd, 0)
    check(disk, path, ids)
    (leader,) = (row for row in oracle.rows(disk.name) if row.id == ids[0])
    assert len(leader.aux) <= 1023
    assert sum(number % 2 for number in ids) > 100, "more regions were recreated than necessary"
    assert {row[0] for row in oracle.fields(disk.name, "group", "group_id")} == {str(ids[0])}


def wait_until(what: str, seen: Callable[[], bool]) -> None:
    """Wait for a condition, or fail with what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while not seen():
        assert time.monotonic() < deadline, what
        os.sched_yield()


def covers(disk: Disk, path: Path) -> bool:
    """Return whether the file's group covers it."""
    covered = {
        sector
        for row in oracle.rows(disk.name)
        if row.program == b"dmstats"
        for sector in range(row.start, row.start + row.length)
    }
    return covered == oracle.sectors_of(path)


def daemons(path: Path) -> list[psutil.Process]:
    """Return the running dmfilemapd processes that follow a file."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(path) in (process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


@pytest.mark.parametrize("foreground", [True, False])
def test_start_filemapd(disk: Disk, foreground: bool) -> None:
    """The started daemon follows the file, in the returned process or detached from it."""
    path = disk.pieces("vm.img", 2)
    fd = disk.open(path)
    (group_id, *_) = create_regions_from_fd(fd)
    pid = start_filemapd(fd, group_id, str(path), FilemapdMode.INODE, foreground=foreground)
    if foreground:
        wait_until("the daemon is there", lambda: [process.pid for process in daemons(path)] == [pid])
    grow(path)
    wait_until("the daemon follows the file", lambda: covers(disk, path))
    (daemon,) = daemons(path)
    assert (daemon.pid == pid) == foreground
    daemon.send_signal(signal.SIGTERM)
    if foreground:
        os.waitpid(pid, 0)
    wait_until("the daemon ends", lambda: not daemons(path))


def test_start_filemapd_refuses(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invalid arguments are refused before dmfilemapd is started. A daemon that exits with an error and a
    missing one are reported."""
    path = disk.pieces("vm.img", 1)
    fd = disk.open(path)
    with pytest.raises(ValueError, match="absolute"):
        start_filemapd(fd, 0, "vm.img", FilemapdMode.INODE)
    with pytest.raises(ValueError, match="verbose"):
        start_filemapd(fd, 0, str(path), FilemapdMode.INODE, verbose=4)
    with pytest.raises(OSError, match="ended with status 1"):
        start_filemapd(fd, -1, str(path), FilemapdMode.INODE)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FileNotFoundError, match="dmfilemapd"):
        start_filemapd(fd, 0, str(path), FilemapdMode.INODE)
