"""Where a file's extents lie: the one FIEMAP ioctl and its parser (linux/fiemap.h)."""

from __future__ import annotations

import errno
import fcntl  # noqa: TID251 - the module's one ioctl
import struct
from enum import IntFlag
from typing import Final, NamedTuple

from dmstats.errors import NoExtentsError

FS_IOC_FIEMAP: Final = 0xC020660B
FIEMAP: Final = struct.Struct("=QQ4I")  # start, length, flags, mapped_extents, extent_count, reserved
FIEMAP_EXTENT: Final = struct.Struct("=3Q16xI12x")  # logical, physical, length, flags
_MAPPED_EXTENTS: Final = struct.Struct("=I")
_MAPPED_OFFSET: Final = 20
_WHOLE_FILE: Final = 2**64 - 1
_FEW: Final = 32
_MANY: Final = 4096


class ExtentFlag(IntFlag):
    """FIEMAP_EXTENT_*: those that tell whether an extent has a place on the device, and whose it is."""

    LAST = 0x1
    UNKNOWN = 0x2
    DELALLOC = 0x4
    ENCODED = 0x8
    DATA_INLINE = 0x200
    UNWRITTEN = 0x800
    SHARED = 0x2000


NOT_ON_DISK: Final = int(
    ExtentFlag.UNKNOWN | ExtentFlag.DELALLOC | ExtentFlag.ENCODED | ExtentFlag.DATA_INLINE
)


class Extent(NamedTuple):
    """One extent; `logical`, `physical` and `length` are bytes."""

    logical: int
    physical: int
    length: int
    flags: int


def parse_fiemap(buffer: bytes | bytearray | memoryview) -> list[Extent]:
    """Return the extents in a struct fiemap that the kernel filled."""
    (count,) = _MAPPED_EXTENTS.unpack_from(buffer, _MAPPED_OFFSET)
    view = memoryview(buffer)[FIEMAP.size : FIEMAP.size + count * FIEMAP_EXTENT.size]
    return list(map(Extent._make, FIEMAP_EXTENT.iter_unpack(view)))


def read_extents(fd: int) -> list[Extent]:
    """Return the extents of the file open at `fd`, by logical offset.

    Without FIEMAP_FLAG_SYNC: what is not yet on disk is told by its flags, and flushing it would disturb
    whoever writes. Raises NoExtentsError where the file system has no FIEMAP, OSError for what else fails.
    """
    extents: list[Extent] = []
    start, room = 0, _FEW
    while True:
        buffer = bytearray(FIEMAP.size + room * FIEMAP_EXTENT.size)
        FIEMAP.pack_into(buffer, 0, start, _WHOLE_FILE - start, 0, 0, room, 0)
        try:
            fcntl.ioctl(fd, FS_IOC_FIEMAP, buffer, True)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EBADR):
                raise NoExtentsError(
                    "the file system cannot tell a file's extents (it has no FIEMAP)"
                ) from None
            raise
        found = parse_fiemap(buffer)
        extents += found
        if not found or found[-1].flags & ExtentFlag.LAST:
            return extents
        start, room = found[-1].logical + found[-1].length, _MANY
