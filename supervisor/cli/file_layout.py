"""Computes where a file's bytes lie on its device and which regions count them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dmstats.device import SECTOR
from dmstats.fiemap import NOT_ON_DISK, Extent, ExtentFlag
from dmstats.group import Group, groups_of
from dmstats.ranges import Range, joined, overlap, total
from dmstats.region import Region

_WORDS: Final = {
    ExtentFlag.DELALLOC: "delayed",
    ExtentFlag.DATA_INLINE: "inline",
    ExtentFlag.ENCODED: "encoded",
    ExtentFlag.UNWRITTEN: "unwritten",
    ExtentFlag.SHARED: "shared",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A contiguous part of a file: `length` bytes from byte `offset`, with the same flags and regions.

    `place` is the first byte on the device, None for a hole or bytes without a place. `flags` are words ("hole",
    "delayed", "shared"...). `regions` are the ids of the regions that count the piece.
    """

    offset: int
    length: int
    place: int | None
    flags: tuple[str, ...]
    regions: tuple[int, ...] = ()

    @property
    def uncovered(self) -> bool:
        """Return whether the piece lies on the device and no region counts it."""
        return self.place is not None and not self.regions


def layout(size: int, extents: Iterable[Extent], regions: Sequence[Region]) -> dict[str, Any]:
    """Return the layout of a file of `size` bytes as JSON: its pieces, and the regions and groups that count them.

    `regions` are all regions of the device, ids ascending. Places are in sectors of 512 bytes, all else is in bytes.
    """
    found = pieces(size, extents, regions)
    place = joined(
        (piece.place // SECTOR, (piece.place + piece.length) // SECTOR)
        for piece in found
        if piece.place is not None
    )
    on_it = {number for piece in found for number in piece.regions}
    groups = groups_of(regions).values()
    group_of = {region.id: group.id for group in groups for region in group.regions}
    return {
        "uncovered_bytes": sum(piece.length for piece in found if piece.uncovered),
        "pieces": [_piece(piece) for piece in found],
        "regions": [_region(region, group_of.get(region.id)) for region in regions if region.id in on_it],
        "groups": [_group(group, found, place) for group in groups if not on_it.isdisjoint(_ids(group))],
    }


def _piece(piece: Piece) -> dict[str, Any]:
    return {
        "offset": piece.offset,
        "length": piece.length,
        "sector": None if piece.place is None else piece.place // SECTOR,
        "flags": list(piece.flags),
        "regions": list(piece.regions),
    }


def _region(region: Region, group_id: int | None) -> dict[str, Any]:
    return {
        "id": region.id,
        "group_id": group_id,
        "program": region.program,
        "sector": region.start,
        "length": region.length * SECTOR,
    }


def _group(group: Group, found: Iterable[Piece], place: Sequence[Range]) -> dict[str, Any]:
    """Return a group as JSON, with how much it counts of the file and, in excess, of the rest of the device."""
    ids = _ids(group)
    covered = sum(piece.length for piece in found if not ids.isdisjoint(piece.regions))
    ranges = joined((region.start, region.end) for region in group.regions)
    return {
        "group_id": group.id,
        "alias": group.tag.alias,
        "program": group.leader.program,
        "regions": len(group.regions),
        "covered_bytes": covered,
        "excess_bytes": (total(ranges) - overlap(ranges, place)) * SECTOR,
    }


def _ids(group: Group) -> set[int]:
    return {region.id for region in group.regions}


def pieces(size: int, extents: Iterable[Extent], regions: Iterable[Region]) -> list[Piece]:
    """Return the pieces of a file of `size` bytes, by offset, including holes."""
    cuts = _Cuts(regions)
    found: list[Piece] = []
    end = 0
    for extent in extents:
        if extent.logical > end:
            found.append(Piece(end, extent.logical - end, None, ("hole",)))
        if extent.flags & NOT_ON_DISK:
            found.append(Piece(extent.logical, extent.length, None, _words(extent.flags)))
        else:
            found += cuts.cut(extent)
        end = extent.logical + extent.length
    if size > end:
        found.append(Piece(end, size - end, None, ("hole",)))
    return _joined(found)


def _words(flags: int) -> tuple[str, ...]:
    words = tuple(word for flag, word in _WORDS.items() if flags & flag)
    return words or (("unknown",) if flags & NOT_ON_DISK else ())


class _Cuts:
    """The bytes of the device at which regions begin or end, and the regions between two of them."""

    def __init__(self, regions: Iterable[Region]) -> None:
        changes: dict[int, list[tuple[bool, int]]] = {}
        for region in regions:
            changes.setdefault(region.start * SECTOR, []).append((True, region.id))
            changes.setdefault(region.end * SECTOR, []).append((False, region.id))
        self._at = sorted(changes)
        self._between: list[tuple[int, ...]] = []
        current: set[int] = set()
        for place in self._at:
            current |= {number for begins, number in changes[place] if begins}
            current -= {number for begins, number in changes[place] if not begins}
            self._between.append(tuple(sorted(current)))

    def cut(self, extent: Extent) -> list[Piece]:
        """Cut an extent that lies on the device into pieces, each counted by the same regions throughout."""
        found: list[Piece] = []
        start, end, flags = extent.physical, extent.physical + extent.length, _words(extent.flags)
        index = bisect_right(self._at, start)
        while start < end:
            until = min(end, self._at[index]) if index < len(self._at) else end
            regions = self._between[index - 1] if index else ()
            offset = extent.logical + start - extent.physical
            found.append(Piece(offset, until - start, start, flags, regions))
            start = until
            index += 1
        return found


def _joined(found: Sequence[Piece]) -> list[Piece]:
    """Return the pieces, with contiguous ones that have the same flags and regions joined."""
    result: list[Piece] = []
    for piece in found:
        last = result[-1] if result else None
        if (
            last is not None
            and (last.flags, last.regions) == (piece.flags, piece.regions)
            and last.offset + last.length == piece.offset
            and (last.place is None) == (piece.place is None)
            and (last.place is None or last.place + last.length == piece.place)
        ):
            result[-1] = Piece(last.offset, last.length + piece.length, last.place, last.flags, last.regions)
        else:
            result.append(piece)
    return result
