"""The worker: one process that keeps one file's group in step, on requests of its supervisor."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Sequence
from typing import Final

from dmstats.apply import Retired as RetiredRegion
from dmstats.apply import region_key
from dmstats.device import Device
from dmstats.errors import (
    DmError,
    DmStatsError,
    NoDeviceMapperError,
    NoPermissionError,
    NotOurGroupError,
    UnmappableError,
)
from workers import messages
from workers.channel import Channel
from workers.exit_codes import Exit
from workers.followed_file import FollowedFile, Presence
from workers.job import Job
from workers.reconciler import Reconciler, Result
from workers.reports import Reports
from workers.supervisor_link import SupervisorGoneError, SupervisorLink
from workers.totals import pack

_log = logging.getLogger("filemapd.worker")

# Seconds between two tries where the kernel refuses regions, doubled from the first to the last.
_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
# The process that has the group now is often about to end: its file was renamed, or its supervisor was killed.
_BUSY_RETRY: Final = 0.2


class _Finished(Exception):  # noqa: N818 - it ends the process, it is no error
    """The work is done."""


class Worker:
    """Handles the supervisor's requests. It is the reconciler's dmstats.apply.Retirement."""

    def __init__(self, channel: Channel, job: Job) -> None:
        self._link = SupervisorLink(channel)
        self._job = job
        self._retry_after = _FIRST_RETRY
        self._retry_at: float | None = None
        self._locked_out = False
        self._file = FollowedFile(job.path, job.mode, job.fd, job.within)
        self._reconciler = Reconciler(
            self._file,
            job.settings,
            job.known,
            self,
            notice=self._report_foreign_change,
            moving=self._link.announce_move,
        )
        self._reports = Reports(self._link, self._file, self._reconciler)

    def run(self) -> None:
        """Follow the file until a Stop request or its end. Raises _Finished, and the kernel's errors."""
        self._resolve_retirements()
        if self._file.fd is not None:
            self._reports.file_opened()
        self._reconcile(verify=True)
        while True:
            self._handle(self._link.next_message(self._retry_at))

    def _handle(self, message: messages.Message | None) -> None:
        """Carry out a request; None where a retry is due."""
        match message:
            case None:
                self._reconcile(verify=True)
            case messages.Reconcile(verify, join, sample):
                unchanged = self._reconcile(verify=verify, join=join)
                if sample and self._reports.is_mapped:
                    self._sample(unchanged=unchanged)
                elif unchanged:
                    self._link.send(messages.Unchanged())
            case messages.Grant(regions):
                self._reconciler.set_grant(regions)
                self._reconcile(verify=True)
            case messages.Sample():
                self._sample()
            case messages.LogLevel(level):
                logging.getLogger().setLevel(level)
            case messages.Stop(delete):
                self._stop(delete=delete)
            case other:
                _log.warning("ignored a message that is not for a worker: %s", type(other).__name__)

    # What the reconciler calls.

    def before_delete(self, retired: Sequence[RetiredRegion]) -> None:
        """Return once the supervisor has recorded the counters."""
        self._link.announce_retirement(retired)

    def after_delete(self, retired: Sequence[RetiredRegion]) -> None:
        """Report that the regions have gone, and the counters of those that stay."""
        live = pack(self._reconciler.totals.sum())
        self._link.send(messages.Retired([one.key for one in retired], live))

    def _report_foreign_change(self, kind: str, detail: str) -> None:
        _log.warning("%s", detail)
        self._link.send(messages.ForeignChange(kind, detail))

    # Requests.

    def _resolve_retirements(self) -> None:
        """Report which unfinished retirements of a predecessor still have their region: these did not take place."""
        file = self._job.known.file
        if file is None or not self._job.pending:
            return
        try:
            there = {region_key(region) for region in Device(file.dev).list().regions}
        except DmError as error:
            if error.errno not in (errno.ENXIO, errno.ENODEV, errno.ENOTTY):
                raise
            there = set()  # the device, and its regions, have gone; or it has another number
        self._link.send(messages.RetirementsResolved([key for key in self._job.pending if key in there]))

    def _reconcile(self, *, verify: bool = False, join: bool = False) -> bool:
        """Reconcile and report changes. Return whether there are none, which the caller reports."""
        try:
            presence = self._file.find()
        except UnmappableError:
            self._release_group()
            raise
        if presence is Presence.CLOSED:
            self._release_group()
            raise _Finished("the file was unlinked and closed")
        if presence is Presence.MISSING:
            self._release_group()
            self._reports.waiting("there is no file at the path")
            return False
        if presence is Presence.REPLACED or self._locked_out:
            self._reports.file_opened()
        try:
            result = self._reconciler.reconcile(verify=verify, join=join)
        except NotOurGroupError as error:
            self._wait_for_group(str(error))
            return False
        self._locked_out = False
        unchanged = result.outcome is None and self._reports.is_mapped
        if not unchanged:
            self._reports.result(result)
        self._plan_retry(result)
        return unchanged

    def _release_group(self) -> None:
        """Delete the group of a file that is gone, unless the configuration retains it."""
        if self._job.delete:
            self._reconciler.release()

    def _wait_for_group(self, reason: str) -> None:
        """Try again until the other process that has the group's lock has ended."""
        if not self._locked_out:
            self._reports.waiting(reason)
            self._retry_after = _BUSY_RETRY
        self._locked_out = True
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _plan_retry(self, result: Result) -> None:
        if result.outcome is None or result.outcome.failure is None:
            if result.outcome is not None:
                self._retry_at, self._retry_after = None, _FIRST_RETRY
            return
        _log.warning("degraded: %s", result.outcome.failure)
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _sample(self, *, unchanged: bool = False) -> None:
        if not self._reports.is_mapped and not self._reconciler.members:
            return  # the group is not known yet: no counters would be taken for lost ones, and count twice later
        at = time.time()
        try:
            live = self._reconciler.sample()
        except DmError as error:
            if error.errno != errno.ENOENT:
                raise
            self._reconcile(verify=True)
            unchanged = False
            live = self._reconciler.sample()
        totals, placement = self._reconciler.totals, self._reports.placement
        ios = placement.ios(totals.ios()) if placement is not None else []
        cleared = totals.take_cleared()
        packed = pack(cleared) if cleared.ios() else None
        self._link.send(messages.Sampled(pack(live), ios, at, packed, unchanged))

    def _stop(self, *, delete: bool) -> None:
        if self._reconciler.members:
            self._sample()
        if delete:
            self._reconciler.release()
        raise _Finished("asked to stop")


def run(channel: Channel, job: Job) -> Exit:
    """Do `job`, report the reason for its end, and return the exit status."""
    try:
        Worker(channel, job).run()
    except SupervisorGoneError:
        return Exit.ORPHANED
    except ConnectionError:
        return Exit.ORPHANED
    except _Finished as end:
        return _report_exit(channel, Exit.ENDED, str(end))
    except (UnmappableError, NoPermissionError, NoDeviceMapperError) as error:
        return _report_exit(channel, Exit.UNABLE, str(error))
    except (DmStatsError, OSError) as error:
        _log.error("%s", error)
        return _report_exit(channel, Exit.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - every end is reported
        _log.exception("a fault in the worker")
        return _report_exit(channel, Exit.FAILED, f"{type(error).__name__}: {error}")
    raise AssertionError("a worker ends with a reason")


def _report_exit(channel: Channel, status: Exit, reason: str) -> Exit:
    try:
        channel.send(messages.Exiting(int(status), reason))
    except OSError:
        return Exit.ORPHANED
    return status
