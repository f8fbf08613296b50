"""Plans how a group comes to cover a file's ranges: regions to keep, create and retire. Pure and linear."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from dmstats.ranges import Range, joined, largest
from dmstats.region import Region

# So many regions on what one could cover are made one; before, joining costs more than it saves.
MAX_PIECES: Final = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """`keep` stays as it is, `create` is to be made, then `retire` goes. `target` is what will be covered.
    `first` are those of `retire` that go before, so that the last that are made get their ids."""

    target: tuple[Range, ...]
    keep: tuple[Region, ...]
    create: tuple[Range, ...]
    retire: tuple[Region, ...]
    first: tuple[Region, ...] = ()

    @property
    def idle(self) -> bool:
        """Nothing is to be made or to go."""
        return not self.create and not self.retire


@dataclass(slots=True)
class _Cover:
    """One target range, the regions kept on it and the gaps between them."""

    target: Range
    kept: list[Region]
    gaps: list[Range]

    @property
    def pieces(self) -> int:
        return len(self.kept) + len(self.gaps)

    def has_room_for(self, region: Region) -> bool:
        """Return whether `region`, which starts at or after the last kept one, lies in the target and on no other
        region."""
        free_from = self.kept[-1].end if self.kept else self.target.start
        return free_from <= region.start and region.end <= self.target.end

    def rejoin(self, leader: int | None = None) -> list[Region]:
        """Replace the kept regions by a single new one, and return them; the group's leader stays."""
        given_up = [region for region in self.kept if region.id != leader]
        self.kept = [region for region in self.kept if region.id == leader]
        self.gaps = _gaps(self.target, self.kept)
        return given_up


def decide(
    ranges: Sequence[Range],
    regions: Sequence[Region],
    *,
    most: int,
    members: Collection[int] = (),
    join: bool = False,
) -> Plan:
    """Return the plan that brings `regions` to cover `ranges`, or the largest ones, with at most `most` of them.

    A region stays while it lies within what is to be covered; of two that overlap, a group's member
    (`members`, ids) goes before one that is not, then the longer one. With `join` every range is brought to one
    region, else only where it has more than MAX_PIECES, and the leader stays, so that the group keeps its id.
    """
    ordered = sorted(regions, key=_start)
    target = tuple(ranges)
    if len(ranges) > most:
        target = largest(ranges, most, [region.start for region in ordered])
    exact, open_ranges, others = _exact(target, ordered, members)
    covers, retire = _covers(
        open_ranges, sorted(others, key=lambda r: (r.start, r.id not in members, -r.end, r.id))
    )
    bound = 1 if join else MAX_PIECES
    leader = None if join else min(members, default=None)
    for cover in covers:
        if cover.pieces > bound:
            retire += cover.rejoin(leader)
    surplus = len(exact) + sum(cover.pieces for cover in covers) - max(most, 1)
    for cover in sorted(covers, key=lambda c: -c.pieces) if surplus > 0 else ():
        if surplus <= 0:
            break
        surplus -= cover.pieces - 1
        retire += cover.rejoin()
    return Plan(
        target,
        (*exact, *(region for cover in covers for region in cover.kept)),
        tuple(gap for cover in covers for gap in cover.gaps),
        tuple(sorted(retire, key=lambda r: r.id)),
    )


def decide_growth(
    regions: Sequence[Region], added: Sequence[Range], *, most: int, leader: int
) -> Plan | None:
    """Return the plan of decide() for the ranges of `regions` and `added`, with a target near `added` only.

    `regions` are all members of the group of that leader, by their start, and cover each range once. Only those
    near `added` are read. None where the plan has more than `most` regions.
    """
    near: set[int] = set()
    for start, end in added:
        first = bisect_left(regions, start, key=_end)
        last = bisect_right(regions, end, key=_start)
        # One range may be in several pieces, and all of them count.
        while 0 < first < last and regions[first - 1].end == regions[first].start:
            first -= 1
        while first < last < len(regions) and regions[last - 1].end == regions[last].start:
            last += 1
        near.update(range(first, last))
    there = [regions[place] for place in sorted(near)]
    ranges = joined([*((region.start, region.end) for region in there), *added])
    members = {leader, *(region.id for region in there)}
    plan = decide(ranges, there, most=len(ranges) + 2 * len(there), members=members)
    gone = {region.id for region in plan.retire}
    keep = tuple(region for region in regions if region.id not in gone) if gone else tuple(regions)
    if len(keep) + len(plan.create) > most:
        return None
    return replace(plan, keep=keep)


_start = attrgetter("start")
_end = attrgetter("end")


def _exact(
    target: Sequence[Range], regions: Sequence[Region], members: Collection[int]
) -> tuple[list[Region], list[Range], list[Region]]:
    """Return, of `regions` by their start, the members that are just on a target range, nearly all, of which
    nothing else is to be decided; then what is left of the target and of the regions."""
    exact, open_ranges, others = [], [], []
    at = 0
    for piece in target:
        start, end = piece
        while at < len(regions) and regions[at].start < start:
            others.append(regions[at])
            at += 1
        region = regions[at] if at < len(regions) else None
        if (
            region is not None
            and region.start == start
            and region.length == end - start
            and region.id in members
        ):
            exact.append(region)
            at += 1
        else:
            open_ranges.append(piece)
    return exact, open_ranges, [*others, *regions[at:]]


def _covers(target: Sequence[Range], regions: Iterable[Region]) -> tuple[list[_Cover], list[Region]]:
    """Return the kept regions of each target range, and the regions that are kept on none."""
    covers = [_Cover(piece, [], []) for piece in target]
    retire: list[Region] = []
    at = 0
    for region in regions:
        while at < len(covers) and covers[at].target.end <= region.start:
            at += 1
        cover = covers[at] if at < len(covers) else None
        if cover is None or not cover.has_room_for(region):
            retire.append(region)
        else:
            cover.kept.append(region)
    for cover in covers:
        cover.gaps = _gaps(cover.target, cover.kept)
    return covers, retire


def _gaps(target: Range, kept: Sequence[Region]) -> list[Range]:
    gaps = []
    end = target.start
    for region in kept:
        if region.start > end:
            gaps.append(Range(end, region.start))
        end = region.end
    if end < target.end:
        gaps.append(Range(end, target.end))
    return gaps
