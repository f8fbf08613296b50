"""The file that is followed: found at a path, replaced there, or unlinked and closed (modes inode and path)."""

from __future__ import annotations

import errno
import fcntl  # noqa: TID251 - a lease shows whether the file is open elsewhere
import os
from enum import Enum, auto

from dmstats.files import FileIdentity, identify_mappable
from dmstats.mode import FilemapdMode

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# There is no file, or a link or a mount leads to one outside the directory; O_NOFOLLOW gives ELOOP, too.
_NO_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EXDEV})


class Presence(Enum):
    """What FollowedFile.find() finds."""

    HERE = auto()  # the file that is followed
    REPLACED = auto()  # another file, which is followed from now on
    MISSING = auto()  # none
    CLOSED = auto()  # mode inode: the file is unlinked and no other process has it open


class FollowedFile:
    """The file of one filemap, open for reading while it is followed.

    `within` is the directory in which it was found; None for a file that is listed itself. A file in a directory must
    be on the directory's file system, and no link below the directory is followed.
    """

    def __init__(
        self, path: str, mode: FilemapdMode, fd: int | None = None, within: str | None = None
    ) -> None:
        self.path = path
        self.mode = mode
        self.within = within
        self.fd = fd
        self.identity = identify_mappable(fd) if fd is not None else None

    def find(self) -> Presence:
        """Find the file, and open it.

        Raises UnmappableError for a file that can't be mapped, which is then not followed, and OSError where the path
        can't be opened, except where there is no file.
        """
        if self.fd is not None and self.mode is FilemapdMode.INODE:
            if os.fstat(self.fd).st_nlink or open_elsewhere(self.fd):
                return Presence.HERE
            return Presence.CLOSED
        if self.fd is not None and self._still_at_path(self.fd):
            return Presence.HERE
        self.close()
        try:
            fd = os.open(self.path, _OPEN) if self.within is None else open_within(self.within, self.path)
        except OSError as error:
            if error.errno in _NO_FILE:
                return Presence.MISSING
            raise
        try:
            self.identity = identify_mappable(fd)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd
        return Presence.REPLACED

    def _still_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(fd))
        except FileNotFoundError:
            return False

    def opened(self) -> tuple[int, FileIdentity]:
        """Return descriptor and identity of the open file. Raises ValueError where none is open."""
        if self.fd is None or self.identity is None:
            raise ValueError(f"{self.path} is not followed")
        return self.fd, self.identity

    def close(self) -> None:
        """Close the file, so that it can be freed and its file system unmounted."""
        if self.fd is not None:
            os.close(self.fd)
        self.fd = self.identity = None


def open_within(directory: str, path: str) -> int:
    """Open the file at `path`, which is below `directory`, without following a link or a mount below that.

    Raises OSError: ELOOP or ENOTDIR for a link, EXDEV for what is on another file system.
    """
    *folders, name = os.path.relpath(path, directory).split("/")
    at = os.open(directory, _FOLDER)
    try:
        device = os.fstat(at).st_dev
        for folder in folders:
            below = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        fd = os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=at)
    finally:
        os.close(at)
    if os.fstat(fd).st_dev != device:
        os.close(fd)
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    return fd


def open_elsewhere(fd: int) -> bool:
    """Return whether another process may have the file open: only a sole opener gets a write lease (fcntl(2)).

    All local file systems give leases. Without CAP_LEASE it returns True.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError:
        return True
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
