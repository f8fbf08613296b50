"""How a file's bytes lie on its device and which regions count them. Pure."""

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
    """`length` bytes of a file that are alike: from byte `offset` of the file, at byte `place` of the device, None
    where they have none. `flags` are words for what is special about them ("hole", "delayed", "shared"...); `regions`
    are the ids of those that count them, none where they are a hole, have no place, or nobody counts them.
    """

    offset: int
    length: int
    place: int | None
    flags: tuple[str, ...]
    regions: tuple[int, ...] = ()

    @property
    def uncovered(self) -> bool:
        """Return whether they lie on the device and no region counts them."""
        return self.place is not None and not self.regions


def layout(size: int, extents: Iterable[Extent], regions: Sequence[Region]) -> dict[str, Any]:
    """Return how a file of `size` bytes lies, as JSON has it: its pieces, and those of the `regions` (ids ascending)
    of its device, and of the groups, that lie on them. Places are in sectors of 512 bytes, all else is in bytes."""
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
    """Return what a group is, how much of the file it counts, and how much of the device that is not the file's."""
    ids = _ids(group)
    covered = sum(piece.length for piece in found if not ids.isdisjoint(piece.regions))
    lies_on = joined((region.start, region.end) for region in group.regions)
    return {
        "group_id": group.id,
        "alias": group.tag.alias,
        "program": group.leader.program,
        "regions": len(group.regions),
        "covered_bytes": covered,
        "excess_bytes": (total(lies_on) - overlap(lies_on, place)) * SECTOR,
    }


def _ids(group: Group) -> set[int]:
    return {region.id for region in group.regions}


def pieces(size: int, extents: Iterable[Extent], regions: Iterable[Region]) -> list[Piece]:
    """Return a file of `size` bytes in pieces, by offset, holes too."""
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
    """The places, in bytes, at which regions begin and end, and which regions lie between two of them."""

    def __init__(self, regions: Iterable[Region]) -> None:
        changes: dict[int, list[tuple[bool, int]]] = {}
        for region in regions:
            changes.setdefault(region.start * SECTOR, []).append((True, region.id))
            changes.setdefault(region.end * SECTOR, []).append((False, region.id))
        self._at = sorted(changes)
        self._between: list[tuple[int, ...]] = []
        now: set[int] = set()
        for place in self._at:
            now |= {number for begins, number in changes[place] if begins}
            now -= {number for begins, number in changes[place] if not begins}
            self._between.append(tuple(sorted(now)))

    def cut(self, extent: Extent) -> list[Piece]:
        """Return an extent that lies on the device in pieces that the same regions count."""
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
    """Return the pieces, those that go on from each other and are alike made one."""
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
