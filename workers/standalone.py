"""A worker without a supervisor: it watches its one file itself, and stores no counters."""

from __future__ import annotations

import logging
import os
import select
import signal
import time
from types import FrameType
from typing import Final

from dmstats.device import Device
from dmstats.errors import GroupNotFoundError
from dmstats.mode import FilemapdMode
from dmstats.moves import Move
from dmstats.reconcile import DiscardCounters
from workers.followed_file import FollowedFile, Presence
from workers.group_finder import GroupSettings, KnownGroup
from workers.reconciler import Reconciler
from workers.watcher import SWEEP, FileWatcher

_log = logging.getLogger("filemapd.worker")
_KEY: Final = "file"


class StandaloneWorker:
    """One file, its group and its watch."""

    def __init__(self, fd: int, group_id: int, path: str, mode: FilemapdMode) -> None:
        """Adopt group `group_id` of the file open at `fd`. Raises UnmappableError."""
        self._file = FollowedFile(path, mode, fd)
        wanted = GroupSettings(adopt=group_id, recreate=False)
        self._reconciler = Reconciler(
            self._file,
            wanted,
            KnownGroup(),
            DiscardCounters(),
            notice=self._log_foreign_change,
            moving=self._log_move,
        )
        self._watcher = FileWatcher()
        self._table = b""
        self._stopping = False

    def run(self) -> None:
        """Follow the file until its group is gone, it is unlinked and closed, or SIGTERM or SIGINT comes.

        Raises DmStatsError where the kernel refuses.
        """
        wake = self._wake_on_signals()
        if self._watcher.watches.missing:
            _log.warning(
                "no inotify instance is available (fs.inotify.max_user_instances): polling for changes"
            )
        try:
            # The given file first: another one may be at the path by now.
            self._reconciler.reconcile(verify=True)
            if self._reconcile():
                self._loop(wake)
        except GroupNotFoundError:
            _log.info("Filemap group removed: exiting.")
        self._watcher.watches.close()

    def _wake_on_signals(self) -> int:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stopping = True

        wake, feed = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(feed, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        return wake

    def _loop(self, wake: int) -> None:
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        if not self._watcher.watches.missing:
            poller.register(self._watcher.watches, select.POLLIN)
        sweep_at = busy_at = time.monotonic() + SWEEP
        while not self._stopping:
            until = min(sweep_at, busy_at, self._watcher.next_due() or sweep_at)
            poller.poll(max(0.0, until - time.monotonic()) * 1000)
            now = time.monotonic()
            self._watcher.read_events(now)
            verify = False
            if now >= busy_at:
                busy_at = now + self._watcher.sweep_busy(now)
            if now >= sweep_at:
                sweep_at = now + SWEEP
                self._watcher.sweep(now)
                verify = self._table_changed()
            for _, join in self._watcher.start_due(now):
                if not self._reconcile(verify=verify, join=join):
                    return
                verify = False
            if verify and not self._reconcile(verify=True):
                return

    def _table_changed(self) -> bool:
        """Return whether any region of the group's program has changed on the device since the last call."""
        spec, fd = self._reconciler.spec, self._file.fd
        if spec is None or fd is None:
            return False
        table = Device(os.fstat(fd).st_dev).list_text(spec.program)
        changed, self._table = table != self._table, table
        return changed

    def _reconcile(self, *, verify: bool = False, join: bool = False) -> bool:
        """Reconcile once; return False where there is nothing left to follow."""
        before = self._file.fd
        presence = self._file.find()
        if presence is Presence.CLOSED:
            self._reconciler.release()
            _log.info("File unlinked and closed: exiting.")
            return False
        if presence is Presence.MISSING:
            self._reconciler.release()
            _log.info("There is no file at %s: waiting for one.", self._file.path)
        if presence is not Presence.HERE or self._watcher.pace(_KEY) is None or before is None:
            path = self._file.path if self._file.mode is FilemapdMode.PATH else None
            self._watcher.add(_KEY, self._file.fd, path)
        if presence is Presence.MISSING:
            return True
        result = self._reconciler.reconcile(verify=verify, join=join)
        outcome = result.outcome
        self._watcher.finished(
            _KEY,
            time.monotonic(),
            changed=outcome is not None and bool(outcome.created or outcome.retired),
            landing=result.landing or (outcome is not None and outcome.failure is not None),
            joinable=self._reconciler.joinable,
        )
        if outcome is not None and outcome.failure is not None:
            _log.warning("not everything could be mapped: %s", outcome.failure)
        return True

    @staticmethod
    def _log_foreign_change(_what: str, detail: str) -> None:
        _log.warning("%s", detail)

    @staticmethod
    def _log_move(move: Move) -> None:
        _log.warning("group_id changed from %s to %d: %s", move.old, move.new, move.reason)
