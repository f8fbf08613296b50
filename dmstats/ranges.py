"""Ranges of sectors on a device, and a file's extents as ranges. Pure and linear."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dmstats.diff import Records, differing
from dmstats.fiemap import FIEMAP_EXTENT, NOT_ON_DISK, ExtentFlag, unpack_extents

_SECTOR: Final = 512


class Range(NamedTuple):
    """The sectors from `start` to before `end`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """The number of sectors."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Footprint:
    """The ranges of a file on its device.

    `ranges` are ascending and don't touch. `unplaced_bytes` are in extents without a place on the device. `landing`:
    some of them wait for delayed allocation, which ends without an event. `extents` is the number of extents on
    disk, where pieces that touch on disk and in the file count as one.
    """

    ranges: tuple[Range, ...]
    extents: int
    unplaced_bytes: int
    landing: bool


def joined(ranges: Iterable[tuple[int, int]]) -> tuple[Range, ...]:
    """Return the union of ranges, ascending, those that touch or overlap made one."""
    ordered = sorted(ranges)
    if not ordered:
        return ()
    union: list[Range] = []
    start, end = ordered[0]
    for next_start, next_end in ordered:
        if next_start > end:
            union.append(Range(start, end))
            start, end = next_start, next_end
        elif next_end > end:
            end = next_end
    union.append(Range(start, end))
    return tuple(union)


def footprint(extents: Iterable[tuple[int, int, int, int]]) -> Footprint:
    """Return where extents (see `fiemap.Extent`), by logical offset, lie on the device."""
    placed: list[tuple[int, int]] = []
    count = unplaced = 0
    landing = False
    logical_end = physical_end = -1
    for logical, physical, length, flags in extents:
        if flags & NOT_ON_DISK:
            unplaced += length
            landing = landing or bool(flags & ExtentFlag.DELALLOC)
            continue
        if logical != logical_end or physical != physical_end:
            count += 1
        logical_end = logical + length
        physical_end = physical + length
        placed.append(_sectors(physical, physical_end))
    return Footprint(joined(placed), count, unplaced, landing)


def growth(before: bytes | bytearray, after: bytes | bytearray) -> tuple[Range, ...] | None:
    """Return on which sectors extents have come, from what read_structs() gave before and now, if the file has all
    sectors still that it had. None where it has not, and where much has changed."""
    pairs = differing(before, after, Records(FIEMAP_EXTENT.size))
    if pairs is None:
        return None
    gone, come = (joined(_placed(b"".join(side))) for side in zip(*pairs, strict=True)) if pairs else ((), ())
    return come if overlap(gone, come) == total(gone) else None


def _placed(structs: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of extents that have a place on the device."""
    for _, physical, length, flags in unpack_extents(structs):
        if not flags & NOT_ON_DISK:
            yield _sectors(physical, physical + length)


def _sectors(start: int, end: int) -> tuple[int, int]:
    """Return the sectors that bytes of a device lie in."""
    return start // _SECTOR, (end + _SECTOR - 1) // _SECTOR


def limited(ranges: Sequence[Range], most: int) -> tuple[Range, ...]:
    """Return at most `most` (at least one) ranges that cover `ranges`, joined across the smallest gaps."""
    surplus = len(ranges) - max(most, 1)
    if surplus <= 0:
        return tuple(ranges)
    bridged = set(
        heapq.nsmallest(surplus, range(1, len(ranges)), key=lambda i: ranges[i].start - ranges[i - 1].end)
    )
    result: list[Range] = []
    for i, piece in enumerate(ranges):
        if i in bridged:
            result[-1] = Range(result[-1].start, piece.end)
        else:
            result.append(piece)
    return tuple(result)


def largest(ranges: Sequence[Range], most: int, known: Sequence[int] = ()) -> tuple[Range, ...]:
    """Return the longest `most` (at least one) of `ranges`, in their order; of equal ones the first.

    A range with one of the sectors `known` (ascending) counts double: ranges of a similar length don't replace each
    other.
    """
    if len(ranges) <= max(most, 1):
        return tuple(ranges)

    def length(place: int) -> tuple[int, int]:
        start, end = ranges[place]
        first = bisect_left(known, start)
        is_known = first < len(known) and known[first] < end
        return (end - start) * (2 if is_known else 1), -place

    chosen = heapq.nlargest(max(most, 1), range(len(ranges)), key=length)
    return tuple(ranges[place] for place in sorted(chosen))


def overlap(one: Sequence[Range], other: Sequence[Range]) -> int:
    """Return how many sectors two unions (ascending, not overlapping within themselves) share."""
    if one == other:  # nearly always
        return total(one)
    shared = i = j = 0
    while i < len(one) and j < len(other):
        shared += max(0, min(one[i].end, other[j].end) - max(one[i].start, other[j].start))
        if one[i].end <= other[j].end:
            i += 1
        else:
            j += 1
    return shared


def total(ranges: Iterable[Range]) -> int:
    """Return the sectors in `ranges`."""
    return sum(end - start for start, end in ranges)
