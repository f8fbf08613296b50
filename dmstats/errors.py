"""The exceptions of dmstats."""

from __future__ import annotations

import errno
import os


class DmStatsError(Exception):
    """The root of all that this package raises on purpose."""


class DmError(DmStatsError, OSError):
    """A device-mapper message that the kernel refused: the command, the device and the errno."""

    def __init__(self, number: int, command: str, device: str) -> None:
        OSError.__init__(self, number, os.strerror(number))
        self.number = number
        self.command = command
        self.device = device

    def __str__(self) -> str:
        name = errno.errorcode.get(self.number, self.number)
        return f"{self.command} on device {self.device}: {self.strerror} ({name})"


class NoDeviceMapperError(DmStatsError):
    """The kernel has no device-mapper: no module, or no control node."""


class NoPermissionError(DmStatsError):
    """Device-mapper asks for CAP_SYS_ADMIN."""


class UnmappableError(DmStatsError):
    """The file has no place on a device-mapper device that can be counted; trying again changes nothing."""


class NotRegularFileError(UnmappableError):
    """A directory, device, socket or pipe."""


class NotOnDeviceMapperError(UnmappableError):
    """The file system lies on a device that is no device-mapper device, or on none."""


class NoExtentsError(UnmappableError):
    """The file system has no FIEMAP, or its physical addresses are none of the device."""


class GroupNotFoundError(DmStatsError):
    """No group of that id on the device."""

    def __init__(self, group_id: int, device: str) -> None:
        super().__init__(f"there is no group {group_id} on device {device}")
        self.group_id = group_id
        self.device = device


class NotOurGroupError(DmStatsError):
    """The group belongs to another file or another owner."""
