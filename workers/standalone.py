"""A worker without a supervisor: it watches its one file itself and keeps no counters."""

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
from dmstats.reconcile import Forget
from workers.followed_file import Following, Presence
from workers.reconciler import Known, Mapping, Wanted
from workers.watcher import SWEEP, Watch

_log = logging.getLogger("filemapd.worker")
_KEY: Final = "file"


class Alone:
    """One file, its group and what to wait for."""

    def __init__(self, fd: int, group_id: int, path: str, mode: FilemapdMode) -> None:
        """Take over group `group_id` of the file open at `fd`. Raises UnmappableError."""
        self._following = Following(path, mode, fd)
        wanted = Wanted(adopt=group_id, remake=False)
        self._mapping = Mapping(
            self._following, wanted, Known(), Forget(), notice=self._noticed, moving=self._moving
        )
        self._watch = Watch()
        self._table = b""
        self._stopping = False

    def run(self) -> None:
        """Follow the file until its group is gone, or it is unlinked and closed, or SIGTERM or SIGINT comes.

        Raises DmStatsError for what the kernel refuses.
        """
        wake = self._wake_on_signals()
        if self._watch.polling:
            _log.warning("no inotify instance to be had (fs.inotify.max_user_instances): polling instead")
        try:
            # The file as it was given, before it is looked at what stands at the path now.
            self._mapping.look(doubt=True)
            if self._look():
                self._loop(wake)
        except GroupNotFoundError:
            _log.info("Filemap group removed: exiting.")
        self._watch.close()

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
        if not self._watch.polling:
            poller.register(self._watch, select.POLLIN)
        sweep_at = busy_at = time.monotonic() + SWEEP
        while not self._stopping:
            until = min(sweep_at, busy_at, self._watch.next_due() or sweep_at)
            poller.poll(max(0.0, until - time.monotonic()) * 1000)
            now = time.monotonic()
            self._watch.read(now)
            doubt = False
            if now >= busy_at:
                busy_at = now + self._watch.sweep_busy(now)
            if now >= sweep_at:
                sweep_at = now + SWEEP
                self._watch.sweep(now)
                doubt = self._table_changed()
            for _, join in self._watch.due(now):
                if not self._look(doubt=doubt, join=join):
                    return
                doubt = False
            if doubt and not self._look(doubt=True):
                return

    def _table_changed(self) -> bool:
        """Tell whether anything in the group's program changed on the device since the last time."""
        spec, fd = self._mapping.spec, self._following.fd
        if spec is None or fd is None:
            return False
        table = Device(os.fstat(fd).st_dev).list_text(spec.program)
        changed, self._table = table != self._table, table
        return changed

    def _look(self, *, doubt: bool = False, join: bool = False) -> bool:
        """Look at the file once; False where there is nothing left to follow."""
        before = self._following.fd
        presence = self._following.find()
        if presence is Presence.CLOSED:
            self._mapping.release()
            _log.info("File unlinked and closed: exiting.")
            return False
        if presence is Presence.MISSING:
            self._mapping.release()
            _log.info("There is no file at %s: waiting for one.", self._following.path)
        if presence is not Presence.HERE or self._watch.pace(_KEY) is None or before is None:
            path = self._following.path if self._following.mode is FilemapdMode.PATH else None
            self._watch.add(_KEY, self._following.fd, path)
        if presence is Presence.MISSING:
            return True
        look = self._mapping.look(doubt=doubt, join=join)
        outcome = look.outcome
        self._watch.looked(
            _KEY,
            time.monotonic(),
            changed=outcome is not None and bool(outcome.created or outcome.retired),
            landing=look.landing or (outcome is not None and outcome.failure is not None),
            joinable=self._mapping.joinable,
        )
        if outcome is not None and outcome.failure is not None:
            _log.warning("not everything could be mapped: %s", outcome.failure)
        return True

    @staticmethod
    def _noticed(_what: str, detail: str) -> None:
        _log.warning("%s", detail)

    @staticmethod
    def _moving(move: Move) -> None:
        _log.warning("group_id changed from %s to %d: %s", move.old, move.new, move.reason)
