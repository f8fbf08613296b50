"""One filemap as the supervisor knows it: what is wanted, how its worker stands, what it reported."""

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
    """What was last seen of the worker's process."""

    rss_bytes: int | None = None
    cpu_percent: float | None = None
    """Of one CPU, since the look before."""
    cpu_ticks: int = 0
    measured_at: float | None = None
    """When (monotonic) the process had used so much CPU."""
    status: str | None = None
    open_files: int | None = None
    busy_since: float | None = None
    """Since when (monotonic) each look found it over max_cpu."""
    wait_logged: bool = False
    """Whether the log tells already that it can't be killed for now."""


Identity = tuple[int, int]
"""A file's device and inode."""

FOLLOW_BOUNDS_MS: Final = (10, 50, 100, 500, 1_000, 5_000, 30_000)


@dataclass(slots=True)
class FollowTimes:
    """How the changes of the file were followed; milliseconds from the event to exact cover.

    `bins` has one more than there are FOLLOW_BOUNDS_MS; a change that took just as long as a bound is below it.
    """

    changes: int = 0
    recent_ms: list[float] = field(default_factory=list)
    last_at: float | None = None
    bins: list[int] = field(default_factory=lambda: [0] * (len(FOLLOW_BOUNDS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, took_ms: float, at: float) -> None:
        """Count a change that was followed."""
        self.changes += 1
        self.last_at = at
        self.recent_ms = [*self.recent_ms[-99:], took_ms]
        self.bins[bisect_left(FOLLOW_BOUNDS_MS, took_ms)] += 1
        self.sum_ms += took_ms


@dataclass(slots=True, eq=False, weakref_slot=True)
class Filemap:
    """The runtime record of one file. Times are seconds: `asked_at` monotonic, those shown since the epoch."""

    spec: FilemapSpec
    record: Record = field(default_factory=Record)
    reported: State | None = None
    """The last state that an event reported (state_machine.is_reported), also before the file was last removed."""
    child: Child | None = None
    timer: Timer | None = None
    fd: int | None = None
    """Open with O_PATH on the file that the worker holds: to watch it, and to hand it to the next worker."""
    file: FileOpened | None = None
    recorded_file: FileOpened | None = None
    """What the ledger has of it."""
    device: str | None = None
    mapped: Mapped | None = None
    group_id: int | None = None
    last_group_id: int | None = None
    moves: tuple[Move, ...] = ()
    """The last ones, of `moves_total`."""
    moves_total: int = 0
    refused_creates: int = 0
    account: Account = field(default_factory=Account)
    placement: Placement = field(default_factory=Placement)
    foreign_changes: dict[str, int] = field(default_factory=dict)
    """What others did to the group, by kind (channel.Noticed, or `cleared`), counted."""
    follow_times: FollowTimes = field(default_factory=FollowTimes)
    event_at: float | None = None
    request_at: float | None = None
    """Since when the worker owes an answer."""
    terminated_at: float | None = None
    """When it was told to end because it is not well."""
    io_text: str = ""
    sample_at: float = 0.0
    sampled_at: float | None = None
    """As of when the counters are what `live` is: since the epoch."""
    sampled_since: float | None = None
    """As of when they were what they had been before they were last read."""
    sampling: bool = False
    """Whether the worker was asked for its counters and has not told them yet."""
    reason: str = ""
    """Last words of the worker."""
    log_lines: list[str] = field(default_factory=list)
    """What the last worker that ended had logged before."""
    delete: bool = False
    """Whether the worker is to delete the group when it is asked to stop."""
    removed: bool = False
    """Its directory does not hold it any more; it goes when its worker ends."""
    failed_state: tuple[int, ...] | None = None
    """What stood at the path when the worker said that it can't be mapped."""
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
        """Tell whether the file itself is followed, whatever its name is (mode inode)."""
        return self.spec.options.mode is FilemapdMode.INODE

    @property
    def is_leaving(self) -> bool:
        """Tell whether nobody wants it any more, and its last worker is about to end."""
        return self.removed and self.record.state is State.STOPPING and not self.record.again

    def total(self) -> Counters:
        """Return what the file's regions counted, those that have gone too."""
        return self.account.total()

    def count_foreign_change(self, what: str) -> None:
        """Count something that others did to the group."""
        self.foreign_changes[what] = self.foreign_changes.get(what, 0) + 1

    def labels(self) -> dict[str, Any]:
        """Return what log records about it say of it."""
        return {"filemap": self.name, "device": self.device, "group_id": self.group_id}

    def log(self, level: int, text: str, *args: object) -> None:
        """Log what concerns it, with its name before the text."""
        _log.log(level, f"%s: {text}", self.name, *args, extra={"about": self.labels()})

    def forget_mapping(self) -> None:
        """Forget where the file lies, and its group: there is no mapping to report."""
        self.mapped = self.group_id = self.event_at = None
        self.placement.set_pieces((), ())

    def release(self) -> int | None:
        """Have nothing to do with the file any more; return its descriptor, which is to be closed, or None."""
        fd, self.fd, self.file = self.fd, None, None
        return fd


def path_state(path: str) -> tuple[int, ...] | None:
    """Return what tells whether the file at `path` is another, or under other rights, than before; None where there
    is none, an empty tuple where that is not known without asking the disk."""
    try:
        found = cached_stat.stat(path)
    except BlockingIOError:
        return ()
    if found is None:
        return None
    return found.st_dev, found.st_ino, found.st_mode, found.st_uid
