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
from workers import channel as say
from workers.exit_codes import Exit
from workers.followed_file import Following, Presence
from workers.placement import Placement, place
from workers.reconciler import Known, Look, Mapping, Wanted
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
    wanted: Wanted
    known: Known = field(default_factory=Known)
    fd: int | None = None
    pending: tuple[str, ...] = ()
    delete: bool = True
    within: str | None = None
    """The directory that the file was found in, None where it is named itself (following.Following)."""

    def with_fd(self, fd: int | None) -> Job:
        """Return the same job with the file open at another descriptor."""
        return replace(self, fd=fd)


class _Orphaned(Exception):  # noqa: N818 - it ends the process, it is no error
    """The supervisor has gone."""


class _Ended(Exception):  # noqa: N818 - likewise
    """The work is done."""


class Worker:
    """The state of one worker process."""

    def __init__(self, channel: say.Channel, job: Job) -> None:
        self._channel = channel
        self._job = job
        self._inbox: deque[say.Message] = deque()
        self._seq = 0
        self._retry_after = _FIRST_RETRY
        self._retry_at: float | None = None
        self._outcome = NOTHING
        self._placement: Placement | None = None
        self._busy = False
        self._told_mapped = False
        self._following = Following(job.path, job.mode, job.fd, job.within)
        self._mapping = Mapping(
            self._following, job.wanted, job.known, self, notice=self._noticed, moving=self._moving
        )

    def run(self) -> None:
        """Follow the file until told to stop or its end. Raises _Ended, and what the kernel refuses."""
        self._settle()
        if self._following.fd is not None:
            self._tell_holds()
        self._look(doubt=True)
        while True:
            match self._next():
                case None:
                    self._look(doubt=True)
                case say.Look(doubt, join, sample):
                    unchanged = self._look(doubt=doubt, join=join)
                    if sample and self._told_mapped:
                        self._sample(unchanged=unchanged)
                    elif unchanged:
                        self._channel.send(say.Unchanged())
                case say.Sample():
                    self._sample()
                case say.LogLevel(level):
                    logging.getLogger().setLevel(level)
                case say.Stop(delete):
                    self._stop(delete=delete)
                case other:
                    _log.warning("ignored a message that is not for a worker: %s", type(other).__name__)

    # What the mapping asks for while it works (dmstats.apply.Retirement).

    def intend(self, retired: Sequence[RetiredRegion]) -> None:
        """Hand counters to the supervisor; returns when it has them safe."""
        for batch in say.batches((one.key, pack(one.counters)) for one in retired):
            self._confirmed(say.Retiring(self._next_seq(), batch))

    def done(self, retired: Sequence[RetiredRegion]) -> None:
        """Tell the supervisor that the regions have gone, and what those that stay counted."""
        live = pack(self._mapping.totals.sum())
        self._channel.send(say.Retired([one.key for one in retired], live))

    def _moving(self, move: Move) -> None:
        self._confirmed(say.Moving(self._next_seq(), move.old, move.new, move.reason))

    def _noticed(self, what: str, detail: str) -> None:
        _log.warning("%s", detail)
        self._channel.send(say.Noticed(what, detail))

    # Messages.

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _confirmed(self, message: say.Moving | say.Retiring) -> None:
        """Send `message` and wait until the supervisor has it safe; what comes meanwhile is kept for later."""
        self._channel.send(message)
        while True:
            answer = self._receive()
            if isinstance(answer, say.Ack) and answer.seq == message.seq:
                return
            self._inbox.append(answer)

    def _receive(self) -> say.Message:
        message = self._channel.receive()
        if message is None:
            raise _Orphaned
        return message

    def _next(self) -> say.Message | None:
        """Wait for the next message; None when it is time to try again."""
        if self._inbox:
            return self._inbox.popleft()
        if self._retry_at is not None:
            left = self._retry_at - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                return None
        return self._receive()

    # What the messages ask for.

    def _settle(self) -> None:
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
        self._channel.send(say.Settled([key for key in self._job.pending if key in there]))

    def _look(self, *, doubt: bool = False, join: bool = False) -> bool:
        """Look at the file and tell what is new. Return whether nothing is, which is still to be told."""
        try:
            presence = self._following.find()
        except UnmappableError:
            if self._job.delete:
                self._mapping.release()
            raise
        if presence is Presence.CLOSED:
            if self._job.delete:
                self._mapping.release()
            raise _Ended("the file was unlinked and closed")
        if presence is Presence.MISSING:
            if self._job.delete:
                self._mapping.release()
            self._tell_waiting(f"there is no file at {self._job.path}")
            return False
        if presence is Presence.REPLACED or self._busy:
            self._tell_holds()
        try:
            look = self._mapping.look(doubt=doubt, join=join)
        except NotOurGroupError as error:
            self._wait_for_group(str(error))
            return False
        self._busy = False
        unchanged = look.outcome is None and self._told_mapped
        if not unchanged:
            self._tell_look(look)
        self._plan_retry(look)
        return unchanged

    def _wait_for_group(self, reason: str) -> None:
        """Another process keeps the file's group in step: try again until that has ended."""
        if not self._busy:
            self._tell_waiting(reason)
            self._retry_after = _BUSY_RETRY
        self._busy = True
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _plan_retry(self, look: Look) -> None:
        if look.outcome is None or look.outcome.failure is None:
            if look.outcome is not None:
                self._retry_at, self._retry_after = None, _FIRST_RETRY
            return
        _log.warning("degraded: %s", look.outcome.failure)
        self._retry_at = time.monotonic() + self._retry_after
        self._retry_after = min(2 * self._retry_after, _LAST_RETRY)

    def _tell_waiting(self, reason: str) -> None:
        self._channel.send(say.Waiting(reason))
        self._told_mapped = False
        self._placement = None

    def _tell_holds(self) -> None:
        fd, file = self._following.followed()
        self._channel.send(say.Holds(file.dev, file.inode, file.generation, fd))

    def _tell_look(self, look: Look) -> None:
        self._tell_mapped(look)
        if look.outcome is not None:
            self._tell_placed()

    def _tell_mapped(self, look: Look) -> None:
        mapping, outcome = self._mapping, look.outcome
        if outcome is not None:
            self._outcome = outcome
        last = self._outcome
        group = None
        if mapping.group_id is not None and mapping.spec is not None:
            group = {"group_id": mapping.group_id, **asdict(mapping.spec)}
        self._channel.send(
            say.Mapped(
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
        self._told_mapped = True

    def _tell_placed(self) -> None:
        """Tell where the regions lie, if that is not what was told last."""
        now = place(self._mapping.members)
        if now != self._placement:
            self._placement = now
            self._channel.send(say.Placed(list(now.starts), list(now.lengths)))

    def _sample(self, *, unchanged: bool = False) -> None:
        if not self._told_mapped and not self._mapping.members:
            return  # what a group has counted that is not known yet would be taken for lost, and then count twice
        at = time.time()
        try:
            live = self._mapping.sample()
        except DmError as error:
            if error.errno != errno.ENOENT:
                raise
            self._look(doubt=True)
            unchanged = False
            live = self._mapping.sample()
        ios = self._placement.ios(self._mapping.totals.ios()) if self._placement is not None else []
        cleared = self._mapping.totals.take_cleared()
        told = pack(cleared) if cleared.ios() else None
        self._channel.send(say.Sampled(pack(live), ios, at, told, unchanged))

    def _stop(self, *, delete: bool) -> None:
        if self._mapping.members:
            self._sample()
        if delete:
            self._mapping.release()
        raise _Ended("asked to stop")


def run(channel: say.Channel, job: Job) -> Exit:
    """Do `job` and return the status to exit with; the supervisor is told the reason."""
    try:
        Worker(channel, job).run()
    except _Orphaned:
        return Exit.ORPHANED
    except ConnectionError:
        return Exit.ORPHANED
    except _Ended as end:
        return _last_words(channel, Exit.ENDED, str(end))
    except (UnmappableError, NoPermissionError, NoDeviceMapperError) as error:
        return _last_words(channel, Exit.UNABLE, str(error))
    except (DmStatsError, OSError) as error:
        _log.error("%s", error)
        return _last_words(channel, Exit.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - a worker says why it ends, whatever that is
        _log.exception("a fault in the worker")
        return _last_words(channel, Exit.FAILED, f"{type(error).__name__}: {error}")
    raise AssertionError("a worker ends with a reason")


def _last_words(channel: say.Channel, status: Exit, reason: str) -> Exit:
    try:
        channel.send(say.Ending(int(status), reason))
    except OSError:
        return Exit.ORPHANED
    return status
