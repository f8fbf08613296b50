"""The worker: one process that keeps one file's group in step, as its supervisor's messages say."""

from __future__ import annotations

import errno
import logging
import select
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
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
from dmstats.mode import FilemapdMode
from dmstats.moves import Move
from dmstats.reconcile import NOTHING
from workers import messages
from workers.channel import Channel
from workers.exit_codes import Exit
from workers.followed_file import FollowedFile, Presence
from workers.placement import Placement, place
from workers.reconciler import GroupSettings, KnownGroup, Reconciler, Result
from workers.totals import pack

_log = logging.getLogger("filemapd.worker")

_FIRST_RETRY: Final = 1.0
_LAST_RETRY: Final = 60.0
# Whoever keeps the group in step now is often about to end: it was renamed, or its supervisor was killed.
_BUSY_RETRY: Final = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do. `fd` is open on the file where it is known already; `pending` are the keys of
    retirements that a predecessor did not finish; `delete` says what becomes of the group of a file that is gone."""

    path: str
    mode: FilemapdMode
    settings: GroupSettings
    known: KnownGroup = field(default_factory=KnownGroup)
    fd: int | None = None
    pending: tuple[str, ...] = ()
    delete: bool = True
    within: str | None = None
    """The directory that the file was found in, None where it is named itself (following.Following)."""

    def with_fd(self, fd: int | None) -> Job:
        """Return the same job with the file open at another descriptor."""
        return replace(self, fd=fd)


class _SupervisorGone(Exception):  # noqa: N818 - it ends the process, it is no error
    """The supervisor has gone."""


class _Finished(Exception):  # noqa: N818 - likewise
    """The work is done."""


class Worker:
    """The state of one worker process."""

    def __init__(self, channel: Channel, job: Job) -> None:
        self._channel = channel
        self._job = job
        self._inbox: deque[messages.Message] = deque()
        self._seq = 0
        self._retry_after = _FIRST_RETRY
        self._retry_at: float | None = None
        self._outcome = NOTHING
        self._placement: Placement | None = None
        self._locked_out = False
        self._mapped_reported = False
        self._file = FollowedFile(job.path, job.mode, job.fd, job.within)
        self._reconciler = Reconciler(
            self._file,
            job.settings,
            job.known,
            self,
            notice=self._report_foreign_change,
            moving=self._announce_move,
        )

    def run(self) -> None:
        """Follow the file until told to stop or its end. Raises _Ended, and what the kernel refuses."""
        self._resolve_retirements()
        if self._file.fd is not None:
            self._report_file()
        self._reconcile(verify=True)
        while True:
            match self._next_message():
                case None:
                    self._reconcile(verify=True)
                case messages.Reconcile(verify, join, sample):
                    unchanged = self._reconcile(verify=verify, join=join)
                    if sample and self._mapped_reported:
                        self._sample(unchanged=unchanged)
                    elif unchanged:
                        self._channel.send(messages.Unchanged())
                case messages.Sample():
                    self._sample()
                case messages.LogLevel(level):
                    logging.getLogger().setLevel(level)
                case messages.Stop(delete):
                    self._stop(delete=delete)
                case other:
                    _log.warning("ignored a message that is not for a worker: %s", type(other).__name__)

    # What the mapping asks for while it works (dmstats.apply.Retirement).

    def before_delete(self, retired: Sequence[RetiredRegion]) -> None:
        """Hand counters to the supervisor; returns when it has them safe."""
        for batch in messages.batches((one.key, pack(one.counters)) for one in retired):
            self._send_and_wait(messages.Retiring(self._next_seq(), batch))

    def after_delete(self, retired: Sequence[RetiredRegion]) -> None:
        """Tell the supervisor that the regions have gone, and what those that stay counted."""
        live = pack(self._reconciler.totals.sum())
        self._channel.send(messages.Retired([one.key for one in retired], live))

    def _announce_move(self, move: Move) -> None:
        self._send_and_wait(messages.Moving(self._next_seq(), move.old, move.new, move.reason))

    def _report_foreign_change(self, what: str, detail: str) -> None:
        _log.warning("%s", detail)
        self._channel.send(messages.ForeignChange(what, detail))

    # Messages.

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _send_and_wait(self, message: messages.Moving | messages.Retiring) -> None:
        """Send `message` and wait until the supervisor has it safe; what comes meanwhile is kept for later."""
        self._channel.send(message)
        while True:
            answer = self._receive()
            if isinstance(answer, messages.Ack) and answer.seq == message.seq:
                return
            self._inbox.append(answer)

    def _receive(self) -> messages.Message:
        message = self._channel.receive()
        if message is None:
            raise _SupervisorGone
        return message

    def _next_message(self) -> messages.Message | None:
        """Wait for the next message; None when it is time to try again."""
        if self._inbox:
            return self._inbox.popleft()
        if self._retry_at is not None:
            left = self._retry_at - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                return None
        return self._receive()

    # What the messages ask for.

    def _resolve_retirements(self) -> None:
        """Tell which retirements that a predecessor began still have their region: those were not carried out."""
        file = self._job.known.file
        if file is None or not self._job.pending:
            return
        try:
            there = {region_key(region) for region in Device(file.dev).list().regions}
        except DmError as error:
            if error.errno not in (errno.ENXIO, errno.ENODEV, errno.ENOTTY):
                raise
            there = set()  # the device has gone, or has another number, and its regions with it
        self._channel.send(messages.RetirementsResolved([key for key in self._job.pending if key in there]))

    def _reconcile(self, *, verify: bool = False, join: bool = False) -> bool:
        """Look at the file and tell what is new. Return whether nothing is, which is still to be told."""
        try:
            presence = self._file.find()
        except UnmappableError:
            if self._job.delete:
                self._reconciler.release()
            raise
        if presence is Presence.CLOSED:
            if self._job.delete:
                self._reconciler.release()
            raise _Finished("the file was unlinked and closed")
        if presence is Presence.MISSING:
            if self._job.delete:
                self._reconciler.release()
            self._report_waiting(f"there is no file at {self._job.path}")
            return False
        if presence is Presence.REPLACED or self._locked_out:
            self._report_file()
        try:
            look = self._reconciler.reconcile(verify=verify, join=join)
        except NotOurGroupError as error:
            self._wait_for_group(str(error))
            return False
        self._locked_out = False
        unchanged = look.outcome is None and self._mapped_reported
        if not unchanged:
            self._report_result(look)
        self._plan_retry(look)
        return unchanged

    def _wait_for_group(self, reason: str) -> None:
        """Another process keeps the file's group in step: try again until that has ended."""
        if not self._locked_out:
            self._report_waiting(reason)
            self._retry_after = _BUSY_RETRY
        self._locked_out = True
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _plan_retry(self, look: Result) -> None:
        if look.outcome is None or look.outcome.failure is None:
            if look.outcome is not None:
                self._retry_at, self._retry_after = None, _FIRST_RETRY
            return
        _log.warning("degraded: %s", look.outcome.failure)
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _report_waiting(self, reason: str) -> None:
        self._channel.send(messages.Waiting(reason))
        self._mapped_reported = False
        self._placement = None

    def _report_file(self) -> None:
        fd, file = self._file.opened()
        self._channel.send(messages.FileOpened(file.dev, file.inode, file.generation, fd))

    def _report_result(self, look: Result) -> None:
        self._report_mapped(look)
        if look.outcome is not None:
            self._report_placement()

    def _report_mapped(self, look: Result) -> None:
        mapping, outcome = self._reconciler, look.outcome
        if outcome is not None:
            self._outcome = outcome
        last = self._outcome
        group = None
        if mapping.group_id is not None and mapping.spec is not None:
            group = {"group_id": mapping.group_id, **asdict(mapping.spec)}
        self._channel.send(
            messages.Mapped(
                group=group,
                tag=mapping.tag,
                extents=last.extents,
                regions=len(last.members),
                uncovered_bytes=last.uncovered_bytes,
                excess_bytes=last.excess_bytes,
                degraded=str(last.failure) if last.failure is not None else last.limit,
                changed=outcome is not None and bool(outcome.created or outcome.retired),
                refused=outcome is not None and outcome.failure is not None,
                landing=look.landing,
                joinable=mapping.joinable,
            )
        )
        self._mapped_reported = True

    def _report_placement(self) -> None:
        """Tell where the regions lie, if that is not what was told last."""
        now = place(self._reconciler.members)
        if now != self._placement:
            self._placement = now
            self._channel.send(messages.Placed(list(now.starts), list(now.lengths)))

    def _sample(self, *, unchanged: bool = False) -> None:
        if not self._mapped_reported and not self._reconciler.members:
            return  # what a group has counted that is not known yet would be taken for lost, and then count twice
        at = time.time()
        try:
            live = self._reconciler.sample()
        except DmError as error:
            if error.errno != errno.ENOENT:
                raise
            self._reconcile(verify=True)
            unchanged = False
            live = self._reconciler.sample()
        ios = self._placement.ios(self._reconciler.totals.ios()) if self._placement is not None else []
        cleared = self._reconciler.totals.take_cleared()
        told = pack(cleared) if cleared.ios() else None
        self._channel.send(messages.Sampled(pack(live), ios, at, told, unchanged))

    def _stop(self, *, delete: bool) -> None:
        if self._reconciler.members:
            self._sample()
        if delete:
            self._reconciler.release()
        raise _Finished("asked to stop")


def run(channel: Channel, job: Job) -> Exit:
    """Do `job` and return the status to exit with; the supervisor is told the reason."""
    try:
        Worker(channel, job).run()
    except _SupervisorGone:
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
    except Exception as error:  # noqa: BLE001 - a worker says why it ends, whatever that is
        _log.exception("a fault in the worker")
        return _report_exit(channel, Exit.FAILED, f"{type(error).__name__}: {error}")
    raise AssertionError("a worker ends with a reason")


def _report_exit(channel: Channel, status: Exit, reason: str) -> Exit:
    try:
        channel.send(messages.Exiting(int(status), reason))
    except OSError:
        return Exit.ORPHANED
    return status
