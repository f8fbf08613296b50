"""One process keeps a group in step: it holds a lock named by device and group_id while it does."""

from __future__ import annotations

import fcntl  # noqa: TID251 - flock(2)
import os
import re
from pathlib import Path
from typing import Final

from dmstats.errors import NotOurGroupError
from dmstats.ioctl import device_text

# Not in the configuration: two supervisors with different folders must see each other's locks.
_FOLDER: Final = Path("/run/lock/filemapd")
_NAME: Final = re.compile(r"(\d+):(\d+)\.(\d+)", re.ASCII)
_LOCKS: Final = Path("/proc/locks")
_FLOCK: Final = re.compile(r"^\d+: FLOCK +ADVISORY +WRITE +(\d+) \S+:(\d+) ", re.MULTILINE)


class GroupLock:
    """The lock on the group that this process follows. The kernel releases it with the process."""

    def __init__(self) -> None:
        self._held: tuple[int, int] | None = None
        self._fd = -1

    def acquire(self, dev: int, group_id: int) -> None:
        """Take the lock on a group, and release that on the former one.

        Raises NotOurGroupError, which names the process, where another process has it.
        """
        if self._held == (dev, group_id):
            return
        _FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = _FOLDER / f"{device_text(dev)}.{group_id}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode("ascii", "replace") or "unknown"
            os.close(fd)
            raise NotOurGroupError(
                f"group {group_id} on device {device_text(dev)} is already followed by process {holder}"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self.release()
        self._fd, self._held = fd, (dev, group_id)

    def release(self) -> None:
        """Give the lock up."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._held = -1, None


def holders() -> dict[tuple[int, int], int]:
    """Return which process holds the lock on which group, by st_dev and id, without touching a lock (proc(5))."""
    held = {match[2]: int(match[1]) for match in _FLOCK.finditer(_LOCKS.read_text(encoding="ascii"))}
    found = {}
    for path in _FOLDER.iterdir() if _FOLDER.is_dir() else ():
        name = _NAME.fullmatch(path.name)
        pid = held.get(str(path.stat().st_ino)) if name is not None else None
        if name is not None and pid is not None:
            found[os.makedev(int(name[1]), int(name[2])), int(name[3])] = pid
    return found
