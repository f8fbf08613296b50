"""Keeps the fleet to what the configuration and its directories hold."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable
from typing import Final

from supervisor.config import Config, Directory
from supervisor.fleet import Fleet
from supervisor.membership import want
from supervisor.selection import Scan, scan, wanted
from supervisor.timers import Timer, Timers
from workers.watch import FolderEvent

_log = logging.getLogger("filemapd.supervisor")

# Files that come in one after the other are taken in together; scans take a tenth of the time at most.
_SETTLE: Final = 0.05
_REST_AFTER_SCAN: Final = 9


class Directories:
    """Scans the directories of the configuration when something happens in them."""

    def __init__(self, fleet: Fleet, timers: Timers) -> None:
        self._fleet = fleet
        self._timers = timers
        self._scans: dict[str, Scan] = {}
        self._scanned: dict[str, tuple[int, int] | None] = {}
        self._waiting: Timer | None = None
        self._rest_until = 0.0

    def apply(self, config: Config) -> dict[str, list[str]]:
        """Scan all directories and have the fleet run what `config` wants; return what changed, by name."""
        before = self._scans
        self._scans = {}
        # Before the scan, so that what is mounted meanwhile is another directory than that which was scanned.
        self._scanned = {directory.path: _identity(directory.path) for directory in config.directories}
        # At the start these are the files that the last supervisor followed.
        followed = self._fleet.filemaps.keys() or self._fleet.ledger.with_group()
        for directory in config.directories:
            self._watch(directory.path, recursive=directory.recursive)
            found = self._scans[directory.path] = scan(directory, followed)
            self._tell(directory, before.get(directory.path), found)
        complete = all(found.reason is None for found in self._scans.values())
        return want(self._fleet, wanted(config, self._scans), complete=complete)

    def changed(self, events: Iterable[FolderEvent]) -> None:
        """Take in what happened in folders: a scan follows in a moment."""
        if any(self._concerns(event.folder) for event in events):
            self.rescan_soon()

    def look_for_missing(self) -> None:
        """Scan again where a directory could not be read, as it may have come since, or where another stands at its
        path: of a mount, and of an unmount by which its files went, inotify tells nothing."""
        unread = any(found.reason is not None for found in self._scans.values())
        if unread or any(_identity(path) != before for path, before in self._scanned.items()):
            self.rescan_soon()

    def rescan_soon(self) -> None:
        """Have one scan done for all that happens within a moment."""
        if self._waiting is None and not self._fleet.stopping:
            now = time.monotonic()
            self._waiting = self._timers.at(max(now + _SETTLE, self._rest_until), self._rescan)

    def _rescan(self) -> None:
        self._waiting = None
        if self._fleet.stopping:
            return
        began = time.monotonic()
        self.apply(self._fleet.config)
        ended = time.monotonic()
        self._rest_until = ended + _REST_AFTER_SCAN * (ended - began)

    def _concerns(self, folder: str) -> bool:
        return any(folder == path or folder.startswith(path + "/") for path in self._scans)

    def _watch(self, path: str, *, recursive: bool) -> None:
        self._fleet.watch.add_folder(path)
        for folder, folders, _ in os.walk(path) if recursive else ():
            for name in folders:
                self._fleet.watch.add_folder(os.path.join(folder, name))

    @staticmethod
    def _tell(directory: Directory, before: Scan | None, found: Scan) -> None:
        """Log what is new about a directory, once."""
        if found.reason is not None and (before is None or before.reason != found.reason):
            _log.warning("directory %s: %s: waiting for it", directory.path, found.reason)
        if found.truncated and (before is None or before.truncated != found.truncated):
            limit = f"max_files is {directory.max_files}"
            _log.warning("directory %s: left out: %d more, as %s", directory.path, found.truncated, limit)


def _identity(path: str) -> tuple[int, int] | None:
    """Return st_dev and st_ino of what is at the path, None where that can't be told."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
