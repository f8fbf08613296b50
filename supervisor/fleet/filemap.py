"""One filemap in the supervisor: its specification, its worker's state, and what the worker reported."""

from __future__ import annotations

import logging
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Final

from dmstats.counters import Counters
from dmstats.mode import FilemapdMode
from supervisor.config.filemap_spec import FilemapSpec
from supervisor.fleet.fork_server import Child
from supervisor.fleet.placement import Placement
from supervisor.fleet.state_machine import Record, State
from supervisor.ledger.accounting import Account
from supervisor.ledger.entries import Move
from supervisor.runtime.timers import Timer
from workers import cached_stat
from workers.messages import FileOpened, Mapped

_log = logging.getLogger("filemapd.supervisor")


@dataclass(slots=True)
class Health:
    """The last measurement of the worker's process."""

    rss_bytes: int | None = None
    cpu_percent: float | None = None
    """Of one CPU, since the measurement before."""
    cpu_ticks: int = 0
    measured_at: float | None = None
    """When (monotonic) `cpu_ticks` was read."""
    status: str | None = None
    open_files: int | None = None
    busy_since: float | None = None
    """Since when (monotonic) each measurement was over max_cpu."""
    wait_logged: bool = False
    """Whether it was logged that the process can't be killed for now."""


Identity = tuple[int, int]
"""A file's device and inode."""

FOLLOW_BOUNDS_MS: Final = (10, 50, 100, 500, 1_000, 5_000, 30_000)


@dataclass(slots=True)
class FollowTimes:
    """How long changes of the file took to follow: milliseconds from the event to exact cover.

    `bins` has one bin more than FOLLOW_BOUNDS_MS has bounds. A time equal to a bound counts below it.
    """

    changes: int = 0
    recent_ms: list[float] = field(default_factory=list)
    last_at: float | None = None
    bins: list[int] = field(default_factory=lambda: [0] * (len(FOLLOW_BOUNDS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, took_ms: float, at: float) -> None:
        """Count a change that took `took_ms` to follow, at `at` (since the epoch)."""
        self.changes += 1
        self.last_at = at
        self.recent_ms = [*self.recent_ms[-99:], took_ms]
        self.bins[bisect_left(FOLLOW_BOUNDS_MS, took_ms)] += 1
        self.sum_ms += took_ms


@dataclass(slots=True, eq=False, weakref_slot=True)
class Filemap:
    """The runtime state of one file. Times are seconds: monotonic, those named `sampled_*` since the epoch."""

    spec: FilemapSpec
    record: Record = field(default_factory=Record)
    reported: State | None = None
    """The last state that an event reported (state_machine.is_reported), also before the file was last removed."""
    child: Child | None = None
    timer: Timer | None = None
    fd: int | None = None
    """Open with O_PATH on the worker's file: to watch it, and to pass it to the next worker."""
    file: FileOpened | None = None
    recorded_file: FileOpened | None = None
    """The file that the ledger has."""
    device: str | None = None
    mapped: Mapped | None = None
    group_id: int | None = None
    last_group_id: int | None = None
    moves: tuple[Move, ...] = ()
    """The last of `moves_total`."""
    moves_total: int = 0
    refused_creates: int = 0
    grant: int | None = None
    """The file's part of the device's budget of regions, which its worker has."""
    grant_is_first: bool = True
    """Whether it was granted before the file's device and extents were known."""
    account: Account = field(default_factory=Account)
    placement: Placement = field(default_factory=Placement)
    foreign_changes: dict[str, int] = field(default_factory=dict)
    """Counts of what others did to the group, by kind (messages.ForeignChange, or `cleared`)."""
    follow_times: FollowTimes = field(default_factory=FollowTimes)
    event_at: float | None = None
    request_at: float | None = None
    """Since when a request to the worker has had no response."""
    terminated_at: float | None = None
    """When the worker was sent SIGTERM because it is unhealthy."""
    io_text: str = ""
    sample_at: float = 0.0
    sampled_at: float | None = None
    """The time of the last sample."""
    sampled_since: float | None = None
    """The time of the sample before: the last one covers the time since."""
    sampling: bool = False
    """Whether a sample was requested and has not come yet."""
    reason: str = ""
    """Why the worker ends, as it reported or as health found."""
    log_lines: list[str] = field(default_factory=list)
    """The last log lines of the last worker that ended."""
    delete: bool = False
    """Whether the worker deletes the group when it stops."""
    removed: bool = False
    """No longer in the configuration or its directory; forgotten when its worker ends."""
    failed_state: tuple[int, ...] | None = None
    """The path_state() when the worker reported that the file can't be mapped."""
    health: Health = field(default_factory=Health)

    @property
    def name(self) -> str:
        """The name, unique in the fleet."""
        return self.spec.name

    @property
    def path(self) -> str:
        """The path, the key of the fleet."""
        return self.spec.path

    @property
    def follows_inode(self) -> bool:
        """Whether the file is followed under any name (mode inode)."""
        return self.spec.options.mode is FilemapdMode.INODE

    @property
    def is_leaving(self) -> bool:
        """Whether it was removed, and its last worker is about to end."""
        return self.removed and self.record.state is State.STOPPING and not self.record.again

    def total(self) -> Counters:
        """Return what the file's regions counted, the deleted ones included."""
        return self.account.total()

    def count_foreign_change(self, what: str) -> None:
        """Count a change that others made to the group."""
        self.foreign_changes[what] = self.foreign_changes.get(what, 0) + 1

    def labels(self) -> dict[str, Any]:
        """Return the labels of log records about the file."""
        return {"filemap": self.name, "device": self.device, "group_id": self.group_id}

    def log(self, level: int, text: str, *args: object) -> None:
        """Log a record about the file, its name before the text."""
        _log.log(level, f"%s: {text}", self.name, *args, extra={"about": self.labels()})

    def forget_mapping(self) -> None:
        """Forget where the file lies, and its group: there is no mapping to report."""
        self.mapped = self.group_id = self.event_at = None
        self.placement.set_pieces((), ())

    def release(self) -> int | None:
        """Release the file; return its descriptor for the caller to close, or None."""
        fd, self.fd, self.file = self.fd, None, None
        return fd


def path_state(path: str) -> tuple[int, ...] | None:
    """Return what identifies the file at `path` and its access rights: device, inode, mode, user id.

    None where there is no file; an empty tuple where only the disk knows, which is not asked.
    """
    try:
        found = cached_stat.stat(path)
    except BlockingIOError:
        return ()
    if found is None:
        return None
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid
