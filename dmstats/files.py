"""Which file it is, and which device its extents lie on."""

from __future__ import annotations

import fcntl  # noqa: TID251 - the module's one ioctl
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dmstats.errors import NotOnDeviceMapperError, NotRegularFileError

FS_IOC_GETVERSION: Final = 0x80087601  # _IOR('v', 1, long); the file systems fill in 32 bits


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """A file for as long as it lives: an inode number is used again, with another generation."""

    dev: int
    inode: int
    generation: int


def identify(fd: int) -> FileIdentity:
    """Return the identity of the file open at `fd`. A file system without generations counts as 0."""
    return _identity(fd, os.fstat(fd))


def identify_mappable(fd: int) -> FileIdentity:
    """Return the identity of a regular file whose file system is on a device-mapper device.

    Raises NotRegularFileError and NotOnDeviceMapperError, which name what it is instead.
    """
    status = os.fstat(fd)
    _check_mappable(fd, status)
    return _identity(fd, status)


def _identity(fd: int, status: os.stat_result) -> FileIdentity:
    buffer = bytearray(8)
    try:
        fcntl.ioctl(fd, FS_IOC_GETVERSION, buffer, True)
    except OSError:
        buffer = bytearray(8)
    return FileIdentity(status.st_dev, status.st_ino, struct.unpack_from("=I", buffer)[0])


def _check_mappable(fd: int, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularFileError(f"not a regular file: {_kind(status.st_mode)}")
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    if os.path.isdir(f"/sys/dev/block/{number}/dm"):
        return
    file_system = _file_system(fd)
    if file_system == "btrfs":
        raise NotOnDeviceMapperError(
            "on btrfs: its extents have addresses of btrfs's own, not of the device, so they can't be mapped"
        )
    if os.major(status.st_dev) == 0:
        raise NotOnDeviceMapperError(f"on {file_system}, which has no block device of its own")
    raise NotOnDeviceMapperError(
        f"on {file_system} on block device {number}, which is no device-mapper device (LVM, dm-crypt, multipath)"
    )


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "of an unknown kind")


def _file_system(fd: int) -> str:
    """Return the name of the file system below `fd`, by way of its mount (proc(5): fdinfo, mountinfo)."""
    fdinfo = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return mount_type(mounts, _mount_id(fdinfo)) or "an unknown file system"


def _mount_id(fdinfo: str) -> str:
    """Return the mount id in the text of /proc/PID/fdinfo/N."""
    for line in fdinfo.splitlines():
        key, _, value = line.partition(":")
        if key == "mnt_id":
            return value.strip()
    return ""


def mount_type(mountinfo: str, mount_id: str) -> str | None:
    """Return the file system type of mount `mount_id` in the text of /proc/PID/mountinfo."""
    for line in mountinfo.split("\n"):
        fields, separator, rest = line.partition(" - ")
        if separator and fields.split(" ", 1)[0] == mount_id:
            return rest.split(" ", 1)[0]
    return None
