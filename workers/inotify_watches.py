"""The inotify instance of a process: watches of open files, by key, and of the names in folders.

inotify(7) reports writes, fallocate, truncation and changes of names, but neither stores through mmap(2) nor the
landing of delayed allocation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final

from inotify_simple import INotify, flags

from workers.libc import open_cached

# ONESHOT: a guest that writes all day causes no wake-ups between two reconciles. CLOSE_WRITE shows defragmentation.
_FILE_EVENTS: Final = (
    flags.MODIFY | flags.ATTRIB | flags.CLOSE_WRITE | flags.MOVE_SELF | flags.DELETE_SELF | flags.ONESHOT
)
_FOLDER_EVENTS: Final = (
    flags.CREATE | flags.DELETE | flags.MOVED_TO | flags.MOVED_FROM | flags.ATTRIB | flags.ONLYDIR
)


@dataclass(frozen=True, slots=True)
class FolderEvent:
    """An event of `name` in a watched folder. An empty name: of any of its names; an empty folder: of one whose
    watch number is not known yet."""

    folder: str
    name: str


@dataclass(slots=True)
class Events:
    """What inotify reported: keys of files, and events of folders. `overflow`: the kernel dropped some."""

    keys: list[str] = field(default_factory=list)
    folders: list[FolderEvent] = field(default_factory=list)
    overflow: bool = False


class InotifyWatches:
    """The watches of one process. Without an inotify instance no file is watched."""

    def __init__(self) -> None:
        self._wd_of: dict[str, int] = {}
        self._keys: dict[int, set[str]] = {}
        self._folders: dict[int, set[str]] = {}
        try:
            self._inotify: INotify | None = INotify(nonblocking=True)
        except OSError:
            self._inotify = None  # fs.inotify.max_user_instances is reached

    @property
    def missing(self) -> bool:
        """Whether no inotify instance is available."""
        return self._inotify is None

    def fileno(self) -> int:
        """Return the descriptor to wait on, -1 without one."""
        return -1 if self._inotify is None else self._inotify.fileno()

    def close(self) -> None:
        """Close the inotify instance."""
        if self._inotify is not None:
            self._inotify.close()

    def is_watched(self, key: str) -> bool:
        """Return whether the next change of the file raises an event."""
        return key in self._wd_of

    def watch_file(self, key: str, fd: int) -> None:
        """Have the next change of the file open at `fd` raise an event of `key`."""
        if self._inotify is None or key in self._wd_of:
            return
        try:
            wd = int(self._inotify.add_watch(f"/proc/self/fd/{fd}", _FILE_EVENTS))
        except OSError:
            return  # fs.inotify.max_user_watches is reached
        self._wd_of[key] = wd
        self._keys.setdefault(wd, set()).add(key)

    def forget_file(self, key: str) -> None:
        """Remove the watch of a file, if it has one. Files with several keys share theirs."""
        wd = self._wd_of.pop(key, None)
        if wd is None or self._inotify is None:
            return
        keys = self._keys[wd]
        keys.discard(key)
        if not keys:
            del self._keys[wd]
            try:
                self._inotify.rm_watch(wd)
            except OSError:
                return  # it has fired, and its event is not read yet

    def watch_folder(self, folder: str) -> int | None:
        """Watch the names in `folder`; return the watch number for add_folder(), None where the folder can't be
        watched.

        A child of this process may call it, as it may wait for a disk.
        """
        if self._inotify is None:
            return None
        try:
            return int(self._inotify.add_watch(folder, _FOLDER_EVENTS))
        except OSError:
            return None

    def add_folder(self, folder: str, wd: int) -> None:
        """Report events of names in `folder`, which is watched under the number `wd`."""
        self._folders.setdefault(wd, set()).add(folder)

    def watch_cached_folder(self, folder: str) -> None:
        """Watch the names in `folder`, if it is in the kernel's cache."""
        try:
            fd = open_cached(folder)
        except OSError:
            return
        wd = self.watch_folder(f"/proc/self/fd/{fd}")
        os.close(fd)
        if wd is not None:
            self.add_folder(folder, wd)

    def read(self) -> Events:
        """Read all events that are there."""
        events = Events()
        for wd, mask, _, name in self._inotify.read(timeout=0) if self._inotify is not None else ():
            if mask & flags.Q_OVERFLOW:
                events.overflow = True
                names = {folder for folders in self._folders.values() for folder in folders}
                events.folders += [FolderEvent(folder, "") for folder in names]
            elif wd in self._folders:
                removed = mask & flags.IGNORED
                folders = self._folders.pop(wd) if removed else self._folders[wd]
                events.folders += [FolderEvent(folder, "" if removed else name) for folder in folders]
            elif name:
                events.folders.append(FolderEvent("", name))
            else:
                keys = self._keys.pop(wd, set())
                for key in keys:
                    del self._wd_of[key]
                events.keys += keys
        return events
