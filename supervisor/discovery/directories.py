"""Scans the directories of the configuration, and makes the fleet follow the files that they hold."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from supervisor.config.models import Config, Directory
from supervisor.discovery.scanner import PATIENCE, Scanner, ScanResult
from supervisor.discovery.selection import Scan, select_files
from supervisor.fleet.filemap import path_state
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.membership import set_files
from supervisor.runtime.timers import Timer, Timers
from workers.inotify_watches import FolderEvent

_log = logging.getLogger("filemapd.supervisor")

# Seconds. Files that appear one after the other are added together; scans take a tenth of the time at most.
_SETTLE: Final = 0.05
_REST_AFTER_SCAN: Final = 9
# Seconds between scans of a directory that can only be read in part, or whose path only the disk knows.
_IN_DOUBT: Final = 10.0


class Directories:
    """Scans directories on events in them. Until a scan ends, the result of the last one holds."""

    def __init__(self, fleet: Fleet, selector: selectors.BaseSelector, timers: Timers) -> None:
        self._fleet = fleet
        self._timers = timers
        self._scanner = Scanner(fleet.watcher.watches, fleet.reaper, self._scan_finished)
        self._directories: dict[str, Directory] = {}
        self._results: dict[str, ScanResult] = {}
        self._finished_at: dict[str, float] = {}
        self._due: set[str] = set()
        self._pending_results = False
        self._cost = 0.0
        self._waiting: Timer | None = None
        self._rest_until = 0.0
        selector.register(self._scanner, selectors.EVENT_READ, self._readable)

    def apply(self, config: Config) -> dict[str, list[str]]:
        """Scan all directories and make the fleet follow `config`; return the names added, changed and removed.

        A directory whose scan takes longer than PATIENCE is applied later.
        """
        self._directories = {directory.path: directory for directory in config.directories}
        for known in (self._results, self._finished_at):
            for path in known.keys() - self._directories.keys():
                del known[path]
        self._due = set(self._directories)
        until = time.monotonic() + PATIENCE
        self._start_scans()
        while self._scanner.pending(now := time.monotonic()) and now < until:
            self._scanner.read(until - now)
            self._start_scans()
        return self._apply_results()

    def handle_events(self, events: Iterable[FolderEvent]) -> None:
        """Schedule scans of the directories with events."""
        for folder in {event.folder for event in events}:
            # A running scan watches folders that are not known here yet.
            self._due |= set(self._directories_of(folder)) if folder else self._scanner.running()
        self._scan_soon()

    def tick(self, now: float) -> None:
        """Schedule scans of directories that could not be read or were replaced: mounts raise no inotify event.

        Called once a second.
        """
        self._scanner.check_overdue(now)
        self._due |= {path for path in self._results if self._is_out_of_date(path, now)}
        self._scan_soon()
        self._apply_when_complete()

    def close(self) -> None:
        """Stop waiting for scans."""
        self._scanner.close()

    def _is_out_of_date(self, path: str, now: float) -> bool:
        result, present = self._results[path], path_state(path)
        if present != () and (present and present[:2]) != result.identity:
            return True
        in_doubt = present == () or (result.scan.reason is not None and present is not None)
        return in_doubt and now - self._finished_at[path] > _IN_DOUBT

    def _directories_of(self, folder: str) -> Iterable[str]:
        return (path for path in self._directories if folder == path or folder.startswith(path + "/"))

    def _scan_soon(self) -> None:
        """Schedule one scan of each due directory, for all events within a moment."""
        if self._due - self._scanner.running() and self._waiting is None and not self._fleet.stopping:
            now = time.monotonic()
            self._waiting = self._timers.at(max(now + _SETTLE, self._rest_until), self._scan)

    def _scan(self) -> None:
        self._waiting = None
        if not self._fleet.stopping:
            self._start_scans()
            self._apply_when_complete()

    def _start_scans(self) -> None:
        """Start the scans that are due, except of directories that are being scanned."""
        began = time.monotonic()
        begun = self._due - self._scanner.running()
        self._due -= begun
        followed: AbstractSet[str] = self._fleet.filemaps.keys()
        if any(path not in self._results for path in begun):
            followed |= (
                self._fleet.ledger.with_group()
            )  # files of the last supervisor count towards max_files
        for path in begun & self._directories.keys():
            self._scanner.begin(self._directories[path], followed)
        self._cost += time.monotonic() - began

    def _readable(self, _events: int) -> None:
        self._scanner.read()
        self._scan_soon()
        self._apply_when_complete()

    def _scan_finished(self, directory: Directory, result: ScanResult) -> None:
        for folder, wd in result.folders:
            self._fleet.watcher.watches.add_folder(folder, wd)
        if self._directories.get(directory.path) != directory:
            return  # the configuration has changed
        before = self._results.get(directory.path)
        self._results[directory.path] = result
        self._finished_at[directory.path] = time.monotonic()
        self._cost += result.cpu_seconds
        self._pending_results = True
        _log_changes(directory, before.scan if before is not None else None, result.scan)

    def _apply_when_complete(self) -> None:
        """Apply the results once all quick scans have ended: until then a file that was moved from one directory to
        another is in both, or in none."""
        if self._pending_results and not self._fleet.stopping and not self._scanner.pending(time.monotonic()):
            self._apply_results()

    def _apply_results(self) -> dict[str, list[str]]:
        began = time.monotonic()
        self._pending_results = False
        scans = {path: result.scan for path, result in self._results.items()}
        complete = scans.keys() == self._directories.keys() and all(s.reason is None for s in scans.values())
        changes = set_files(self._fleet, select_files(self._fleet.config, scans), complete=complete)
        ended = time.monotonic()
        self._rest_until = ended + _REST_AFTER_SCAN * (self._cost + ended - began)
        self._cost = 0.0
        return changes


def _log_changes(directory: Directory, before: Scan | None, found: Scan) -> None:
    """Log problems of a directory that are new."""
    if found.reason is not None and (before is None or before.reason != found.reason):
        _log.warning("directory %s: %s: waiting for it", directory.path, found.reason)
    if found.truncated and (before is None or before.truncated != found.truncated):
        limit = f"max_files is {directory.max_files}"
        _log.warning("directory %s: left out: %d more, as %s", directory.path, found.truncated, limit)
