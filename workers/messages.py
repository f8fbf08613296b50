"""The protocol between a worker and its supervisor: JSON, one message a packet.

Each message is a class. "Up" is from the worker to the supervisor, "down" the other way. Moving and Retiring want an
Ack: the worker goes on once the supervisor has their contents in the ledger. The successor of a worker that was
killed between two messages finds what is unfinished in the ledger and in the kernel.
"""

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
    """Up: the worker has this file open at descriptor `fd`. The supervisor opens it by way of that descriptor."""

    dev: int
    inode: int
    generation: int
    fd: int


@dataclass(frozen=True, slots=True)
class Moving:
    """Up, before the tag is set: the group gets the id `new`, for this reason. `old` is its present id, None where
    there is no group just now. Wants an Ack."""

    seq: int
    old: int | None
    new: int
    reason: str


@dataclass(frozen=True, slots=True)
class Mapped:
    """Up: the group is in step with the extents.

    `group` has the group's id and its properties (ownership.GroupSpec), for the worker's successor; None without a
    group. `tag` is the leader's aux. `size_bytes` are the file's bytes on disk and those without a place on the
    device, `uncovered_bytes` the part of them without a region, `excess_bytes` the bytes of regions outside the file.
    `degraded` is why the cover is not exact. `changed`: regions were created or retired. `refused`: the kernel
    refused a region. `landing`: extents wait for delayed allocation. `joinable`: some regions could be joined.
    """

    group: dict[str, Any] | None
    tag: str
    extents: int
    regions: int
    uncovered_bytes: int
    excess_bytes: int
    size_bytes: int
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
    """Up: a reconcile found no change since the last Mapped."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Up: there is no file to map, for this reason, and no group."""

    reason: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Up, after a reconcile that changed it: where the group's regions lie, as the pieces of placement.Placement, by
    their starts; in sectors."""

    starts: list[int]
    lengths: list[int]


@dataclass(frozen=True, slots=True)
class Sampled:
    """Up: a sample.

    `live` is the sum over the group's regions, `at` its time (seconds since the epoch). `ios` are the I/Os of each
    piece of the last Placed since the last sample; empty where there were none. `cleared` was counted before and is
    no longer in `live`, as another program set regions to zero. `unchanged`: as Unchanged, for a reconcile just
    before.
    """

    live: Packed
    ios: list[int]
    at: float
    cleared: Packed | None = None
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Retiring:
    """Up: regions are about to be deleted; their counters, by key, count once they have gone. Wants an Ack."""

    seq: int
    counters: list[list[Any]]


@dataclass(frozen=True, slots=True)
class Retired:
    """Up: these regions have gone; `live` is the last sum over those that stay. A worker that starts and finds no
    regions sends it without keys."""

    keys: list[str]
    live: Packed


@dataclass(frozen=True, slots=True)
class RetirementsResolved:
    """Up, at the start: the keys of a predecessor's unfinished retirements whose region still exists."""

    still_there: list[str]


@dataclass(frozen=True, slots=True)
class ForeignChange:
    """Up: another program changed the group; `kind` is a word to count by."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Exiting:
    """Up: the worker ends, with this exit status (exit_codes.Exit) and for this reason."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Down: reconcile. `verify`: check the group even if the extents are unchanged. `join`: regions may be joined.
    `sample`: read the counters afterwards."""

    verify: bool = False
    join: bool = False
    sample: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """Down: the group may have so many regions, as its part of the device's budget."""

    regions: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Down: read the counters. A worker without a known group sends none."""


@dataclass(frozen=True, slots=True)
class LogLevel:
    """Down: log from this level on (logging's numbers)."""

    level: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Down: stop. `delete`: retire the counters and delete the group first."""

    delete: bool = False


@dataclass(frozen=True, slots=True)
class Ack:
    """Down: the contents of message `seq` are in the ledger."""

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
    | Grant
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
        Grant,
        Sample,
        LogLevel,
        Stop,
        Ack,
    )
}


def batches(retired: Iterable[tuple[str, Packed]]) -> Iterator[list[list[Any]]]:
    """Yield `retired` in lists for Retiring, each of which fits into a packet: 256 at most, fewer where histograms
    are long."""
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
        raise ValueError(f"sent an invalid message: {bytes(packet[:80])!r}") from error
