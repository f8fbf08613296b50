"""Files that can't be mapped and groups that must not be touched are refused with a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dmstats import ioctl
from dmstats.errors import (
    DmStatsError,
    GroupNotFoundError,
    NoExtentsError,
    NoPermissionError,
    NotOnDeviceMapperError,
    NotRegularFileError,
)
from dmstats.filemap import create_regions_from_fd, update_regions_from_fd
from sandbox.devices import dm_device
from tests.kernel import oracle
from tests.kernel.conftest import Disk

NOBODY = 65534
# The refusals are the same on every file system.
ONE_DISK = pytest.mark.parametrize("made", ["ext4"], indirect=True)


def refusals(fd: int) -> list[str]:
    """Return the kinds and texts of the errors that creating and updating give for a file."""
    found = []
    for call in (partial(create_regions_from_fd, fd), partial(update_regions_from_fd, fd, 0)):
        with pytest.raises(DmStatsError) as refused:
            call()
        found.append(f"{type(refused.value).__name__}: {refused.value}")
    return found


@ONE_DISK
def test_no_regular_file(disk: Disk) -> None:
    """A directory and a character device are refused with their type."""
    for path, kind in ((disk.folder, "a directory"), (Path("/dev/null"), "a character device")):
        fd = os.open(path, os.O_RDONLY)
        assert refusals(fd) == [f"{NotRegularFileError.__name__}: not a regular file: {kind}"] * 2
        os.close(fd)
    assert oracle.table(disk.name) == {}


@ONE_DISK
def test_block_device_of_device_mapper(disk: Disk) -> None:
    """The device's own node is refused: it is no file with extents on the device."""
    fd = os.open(disk.device.path, os.O_RDONLY)
    assert refusals(fd) == ["NotRegularFileError: not a regular file: a block device"] * 2
    os.close(fd)


@pytest.mark.parametrize(
    ("path", "kind"), [("/run/file", "tmpfs"), ("/proc/self/status", "proc"), ("/file", "overlay")]
)
def test_no_block_device(path: str, kind: str) -> None:
    """A file on tmpfs, proc or an overlay is refused with its file system's name."""
    fd = os.open(path, os.O_RDONLY | (0 if kind == "proc" else os.O_CREAT))
    assert refusals(fd) == [f"NotOnDeviceMapperError: on {kind}, which has no block device of its own"] * 2
    os.close(fd)


def test_btrfs(btrfs: Path) -> None:
    """btrfs on a device-mapper device is refused: its FIEMAP doesn't return addresses on the device."""
    assert oracle.extents(btrfs / "file")
    for name in ("file", "inline"):
        fd = os.open(btrfs / name, os.O_RDONLY)
        for refusal in refusals(fd):
            assert refusal.startswith("NotOnDeviceMapperError: on btrfs: ")
        os.close(fd)


def test_loop_device_without_device_mapper(tmp_path: Path) -> None:
    """A file system on a block device that isn't device-mapper's is refused with the device's number."""
    image, mountpoint = Path("/run/plain.img"), tmp_path
    with image.open("wb") as file:
        file.truncate(16 << 20)
    oracle.run("mkfs.ext4", "-q", str(image))
    oracle.run("mount", "-o", "loop", str(image), str(mountpoint))
    path = mountpoint / "file"
    path.write_bytes(b"x" * 4096)
    fd = os.open(path, os.O_RDONLY)
    number = ioctl.device_text(os.fstat(fd).st_dev)
    for refusal in refusals(fd):
        assert refusal.startswith(
            f"{NotOnDeviceMapperError.__name__}: on ext4 on block device {number}, which is no"
        )
    os.close(fd)
    oracle.run("umount", str(mountpoint))
    image.unlink()


def test_inline_data(tmp_path: Path) -> None:
    """A file whose data is inline in its inode has no extent to count."""
    with dm_device("inline", 16) as device:
        oracle.run("mkfs.ext4", "-q", "-O", "inline_data", "-b", "4096", str(device.path))
        oracle.run("mount", str(device.path), str(tmp_path))
        path = tmp_path / "tiny"
        path.write_bytes(b"tiny")
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        with pytest.raises(NoExtentsError, match="inline"):
            create_regions_from_fd(fd)
        os.close(fd)
        assert oracle.table(device.name) == {}
        oracle.run("umount", str(tmp_path))


@ONE_DISK
def test_group_not_there(disk: Disk) -> None:
    """A missing group, and a region that leads no group, are reported with group and device."""
    path = disk.pieces("vm.img", 2)
    fd = disk.open(path)
    create_regions_from_fd(fd)
    before = oracle.table(disk.name)
    for number in (1, 7, -1):
        with pytest.raises(GroupNotFoundError) as refused:
            update_regions_from_fd(fd, number)
        assert str(refused.value) == f"there is no group {number} on device {disk.stats.number}"
    assert oracle.table(disk.name) == before


@ONE_DISK
def test_group_of_another_file(disk: Disk) -> None:
    """Another file's group is never updated: neither one of ours, nor one of dmstats elsewhere on the
    device."""
    one, other = disk.pieces("one", 2), disk.pieces("other", 2)
    fd = disk.open(one)
    assert create_regions_from_fd(disk.open(other)) == (0, 1)
    oracle.run("dmstats", "create", "--filemap", "--nomonitor", str(other))
    assert sorted(oracle.groups(disk.name)) == [0, 2]
    before = oracle.table(disk.name)
    for number in (0, 2):
        with pytest.raises(GroupNotFoundError):
            update_regions_from_fd(fd, number)
    assert oracle.table(disk.name) == before


@ONE_DISK
def test_group_id_reused_by_another_file(disk: Disk) -> None:
    """A group id that was reused for another file's group isn't taken for the file's, even with the same
    alias."""
    one, other = disk.pieces("one", 2), disk.pieces("other", 2)
    fd = disk.open(one)
    (group_id, *_) = create_regions_from_fd(fd, alias="same")
    oracle.run("dmstats", "delete", "--groupid", str(group_id), disk.name)
    assert create_regions_from_fd(disk.open(other), alias="same")[0] == group_id
    before = oracle.table(disk.name)
    with pytest.raises(GroupNotFoundError):
        update_regions_from_fd(fd, group_id)
    assert oracle.table(disk.name) == before


def as_nobody(action: Callable[[], object]) -> str:
    """Run `action` in a process without privileges, and return its error's kind and text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        text = "no error"
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - the child's only word
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


@ONE_DISK
def test_no_permission(disk: Disk) -> None:
    """Without privileges the control node can't be opened. An open one is of no use: the kernel requires
    CAP_SYS_ADMIN. Nothing is changed."""
    path = disk.pieces("vm.img", 1)
    fd = disk.open(path)

    def closed() -> None:
        ioctl.control.cache_clear()
        create_regions_from_fd(fd)

    expected = NoPermissionError.__name__
    assert as_nobody(closed) == (
        f"{expected}: no permission to open {ioctl.CONTROL_NODE}: run as root (CAP_SYS_ADMIN)"
    )
    ioctl.control()
    refused = as_nobody(lambda: create_regions_from_fd(fd))
    assert refused == f"{expected}: device-mapper refused: it asks for CAP_SYS_ADMIN, run as root"
    assert oracle.table(disk.name) == {}


@ONE_DISK
def test_closed_descriptor(disk: Disk) -> None:
    """A closed descriptor is reported as such, not taken for another file."""
    fd = os.open(disk.pieces("vm.img", 1), os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        create_regions_from_fd(fd)
