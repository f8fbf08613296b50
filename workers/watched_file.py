"""One watched file: its schedule, and the status that it had when it was last reconciled."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field

from workers import cached_stat
from workers.pace import Pace


class Difference(enum.Enum):
    """How a file differs from its remembered status."""

    NONE = enum.auto()
    TIME = enum.auto()
    """Only its ctime differs: its extents may have changed."""
    FILE = enum.auto()
    """It is another file, or its blocks, size or links differ; or that can't be known without waiting for a disk."""


@dataclass(slots=True)
class WatchedFile:
    """One file: `fd` is open on it, None while it is missing. `path` is set where the name matters."""

    fd: int | None
    path: str | None
    pace: Pace = field(default_factory=Pace)
    file: tuple[int, int] | None = None
    """Device and inode of the file at `fd`."""
    _shape: tuple[int, int, int] = (0, 0, 0)
    _changed_at: int = 0

    def remember(self) -> None:
        """Store the status of the file at `fd`. It takes one system call."""
        if self.fd is None:
            return
        try:
            status = os.fstat(self.fd)
        except OSError:
            return  # a file system that was shut down: the last status stays
        self.file = status.st_dev, status.st_ino
        self._shape, self._changed_at = _shape(status), status.st_ctime_ns

    def compare(self) -> Difference:
        """Compare the file with its remembered status. It takes one system call."""
        try:
            status = self._status()
        except BlockingIOError:
            return Difference.FILE  # its worker may wait for the disk
        if status is None and self.file is None:
            return Difference.NONE
        if status is None or (status.st_dev, status.st_ino) != self.file:
            return Difference.FILE
        if status.st_nlink == 0 or self._shape != _shape(status):
            return Difference.FILE
        return Difference.NONE if self._changed_at == status.st_ctime_ns else Difference.TIME

    def _status(self) -> os.stat_result | None:
        """Return the status of the path, where the name matters, else of the file; None for a missing file.

        Raises BlockingIOError where only the disk knows. stat(2) of an open file's name doesn't wait for the disk,
        as the kernel has the name in its cache.
        """
        if self.fd is None:
            return cached_stat.stat(self.path) if self.path is not None else None
        try:
            return os.stat(self.path) if self.path is not None else os.fstat(self.fd)
        except OSError:
            return None


def _shape(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_blocks, status.st_size, status.st_nlink
