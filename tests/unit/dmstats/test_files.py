"""A file's identity and file system, as far as they need no device."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dmstats import files
from dmstats.errors import NotOnDeviceMapperError, NotRegularFileError, UnmappableError
from dmstats.files import FileIdentity, identify, identify_mappable, mount_type
from tests.unit.data import sizes

MOUNTINFO = """\
22 27 0:21 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg-root rw
41 27 0:35 /sub /mnt/with\\040space rw shared:9 master:2 - btrfs /dev/mapper/vg-data rw,subvol=/sub
42 27 0:36 / /mnt/-odd rw,relatime - overlay overlay rw,lowerdir=/a
4 27 254:1 / /four rw - xfs /dev/mapper/vg-four rw
43 27 0:37 / /fuse rw - fuse.sshfs host:/ rw
cut short
"""


@pytest.mark.parametrize(
    ("mount", "kind"),
    [
        ("22", "proc"),
        ("27", "ext4"),
        ("41", "btrfs"),
        ("42", "overlay"),
        ("4", "xfs"),
        ("43", "fuse.sshfs"),
        ("99", None),
        ("", None),
    ],
)
def test_mount_type(mount: str, kind: str | None) -> None:
    """The file system is that of the mount with exactly this id, with optional fields or without."""
    assert mount_type(MOUNTINFO, mount) == kind


def test_mount_id() -> None:
    """The mount's id is found among the other lines of fdinfo."""
    assert files._mount_id("pos:\t0\nflags:\t0100002\nmnt_id:\t27\nino:\t12\n") == "27"
    assert files._mount_id("pos:\t0\n") == ""


def test_number_of_the_ioctl(tmp_path: Path) -> None:
    """FS_IOC_GETVERSION equals the headers'."""
    assert files.FS_IOC_GETVERSION == sizes(tmp_path)["FS_IOC_GETVERSION"] == 0x80087601


def test_identity_is_the_files_own(tmp_path: Path) -> None:
    """The identity is the inode's: the same through a second descriptor and a rename, different for another
    file."""
    first, second = tmp_path / "first", tmp_path / "second"
    with first.open("wb") as one, second.open("wb") as other:
        identity = identify(one.fileno())
        assert (identity.dev, identity.inode) == (first.stat().st_dev, first.stat().st_ino)
        assert identify(other.fileno()) != identity
        first.rename(tmp_path / "renamed")
        with (tmp_path / "renamed").open("rb") as again:
            assert identify(again.fileno()) == identity


def test_no_generation_counts_as_zero() -> None:
    """On a file system without generations it is 0, without an error."""
    with Path("/proc/self/status").open("rb") as file:
        status = os.fstat(file.fileno())
        assert identify(file.fileno()) == FileIdentity(status.st_dev, status.st_ino, 0)


def refusal(fd: int) -> UnmappableError:
    """Return why the file at `fd` can't be mapped."""
    with pytest.raises(UnmappableError) as refused:
        identify_mappable(fd)
    return refused.value


def test_kinds_that_are_no_regular_file(tmp_path: Path) -> None:
    """A directory, a character device, a pipe and a socket are refused with their type."""
    reading, writing = os.pipe()
    sock = socket.socket()
    folder = os.open(tmp_path, os.O_RDONLY)
    null = os.open("/dev/null", os.O_RDONLY)
    for fd, kind in (
        (folder, "a directory"),
        (null, "a character device"),
        (reading, "a pipe"),
        (sock.fileno(), "a socket"),
    ):
        refused = refusal(fd)
        assert isinstance(refused, NotRegularFileError)
        assert str(refused) == f"not a regular file: {kind}"
    sock.close()
    for fd in (reading, writing, folder, null):
        os.close(fd)


def test_no_block_device() -> None:
    """Files on proc and in memory are refused with their file system's name."""
    with Path("/proc/self/status").open("rb") as file:
        refused = refusal(file.fileno())
    assert isinstance(refused, NotOnDeviceMapperError)
    assert str(refused) == "on proc, which has no block device of its own"
    fd = os.memfd_create("memory")
    assert isinstance(refusal(fd), NotOnDeviceMapperError)
    os.close(fd)
