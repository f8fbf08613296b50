"""The protocol between a worker and its supervisor: JSON, one message a packet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from dmstats.group import parse_tag

LARGEST: Final = 512 * 1024
"""Bytes of a packet at most."""
# Retired counters come in batches that fit into a packet; a number has 20 digits at most.
_BATCH: Final = 256
_NUMBERS: Final = 20_000

Packed = list[int | list[int]]
"""Counters, as totals.pack() makes them."""


@dataclass(frozen=True, slots=True)
class FileOpened:
    """Up: the worker holds this file open at descriptor `fd`, so the supervisor can watch just this one."""

    dev: int
    inode: int
    generation: int
    fd: int


@dataclass(frozen=True, slots=True)
class Moving:
    """Up, before the tag is set: the group will have `new` as its id, for this reason, or still `old`, which is None
    where there is no group just now. Wants Ack."""

    seq: int
    old: int | None
    new: int
    reason: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """Up: the group is in step with the extents. `group` has its id and what it is like (ownership.GroupSpec), for
    the worker's successor; `tag` is what its leader bears. `refused`: the kernel would not have a region just now."""

    group: dict[str, Any] | None
    tag: str
    extents: int
    regions: int
    uncovered_bytes: int
    excess_bytes: int
    degraded: str | None
    changed: bool
    refused: bool
    landing: bool
    joinable: bool

    def members(self) -> list[int]:
        """Return the ids that `tag` lists."""
        found = parse_tag(self.tag, self.group["group_id"]) if self.group is not None else None
        return [number for span in found.members for number in span] if found is not None else []


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Up: a look found the extents as they were, and all is as Mapped told last."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Up: there is no file at the path; no group is kept meanwhile."""

    reason: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Up, after a look that changed it: where the group's regions lie, in the pieces of placement.Placement, by
    where they start; in sectors. There are none while the worker is Waiting."""

    starts: list[int]
    lengths: list[int]


@dataclass(frozen=True, slots=True)
class Sampled:
    """Up: the sum over the group's regions. `ios` are the I/Os since the last time of each piece that Placed told,
    empty where there are none. It is as of `at`, seconds since the epoch. `cleared` is what was told before and is
    not in `live` any more, as somebody has set regions to zero. `unchanged` tells what Unchanged does, of a look just
    before."""

    live: Packed
    ios: list[int]
    at: float
    cleared: Packed | None = None
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Retiring:
    """Up: regions are about to go; their counters, by key, count once they have. Wants Ack."""

    seq: int
    counters: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Retired:
    """Up: these regions have gone; `live` is the last sum over those that stay. A worker that begins and finds no
    regions says so without any keys."""

    keys: list[str]
    live: Packed


@dataclass(frozen=True, slots=True)
class RetirementsResolved:
    """Up, at the start: which of the predecessor's unfinished retirements still have their region."""

    still_there: list[str]


@dataclass(frozen=True, slots=True)
class ForeignChange:
    """Up: somebody else did something to the group; `what` is a word to count by."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Exiting:
    """Up: the worker ends, with this exit status and for this reason."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Down: look at the file; `verify`: at the group too, `join`: its regions may be joined now, `sample`: read the
    counters then."""

    verify: bool = False
    join: bool = False
    sample: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """Down: read the counters, unless the device did nothing since the last time."""


@dataclass(frozen=True, slots=True)
class LogLevel:
    """Down: log records of this level and above (logging's numbers)."""

    level: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Down: end; `delete` the group before, its counters retired."""

    delete: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """Down: what message `seq` said is safe."""

    seq: int


Message = (
    FileOpened
    | Moving
    | Mapped
    | Unchanged
    | Waiting
    | Placed
    | Sampled
    | Retiring
    | Retired
    | RetirementsResolved
    | ForeignChange
    | Exiting
    | Reconcile
    | Sample
    | LogLevel
    | Stop
    | Ack
)
_KINDS: Final[dict[str, type[Message]]] = {
    kind.__name__: kind
    for kind in (
        FileOpened,
        Moving,
        Mapped,
        Unchanged,
        Waiting,
        Placed,
        Sampled,
        Retiring,
        Retired,
        RetirementsResolved,
        ForeignChange,
        Exiting,
        Reconcile,
        Sample,
        LogLevel,
        Stop,
        Ack,
    )
}


def batches(retired: Iterable[tuple[str, Packed]]) -> Iterator[list[list[Any]]]:
    """Walk `retired` in lists for Retiring, each of which fits into a packet: of 256 at most, and fewer where
    histograms are long."""
    batch: list[list[Any]] = []
    numbers = 0
    for key, packed in retired:
        more = sum(len(value) if isinstance(value, list) else 1 for value in packed)
        if batch and (len(batch) == _BATCH or numbers + more > _NUMBERS):
            yield batch
            batch, numbers = [], 0
        batch.append([key, packed])
        numbers += more
    if batch:
        yield batch


def encode(message: Message) -> bytes:
    """Return the packet for `message`."""
    values = [getattr(message, one.name) for one in fields(message)]
    return json.dumps([type(message).__name__, *values], separators=(",", ":")).encode()


def decode(packet: bytes | bytearray) -> Message:
    """Return the message in `packet`, or raise ValueError."""
    try:
        name, *values = json.loads(packet)
        return _KINDS[name](*values)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"said what is no message of ours: {bytes(packet[:80])!r}") from error
