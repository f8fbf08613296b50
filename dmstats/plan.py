"""What to do so that a group's regions cover a file's ranges: keep, create, retire. Pure and linear."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from dmstats.group import MAX_TAG_BYTES, Group, as_ranges, members_text
from dmstats.ranges import Range, limited
from dmstats.region import Region

# So many regions on what one could cover are made one; before, joining costs more than it saves.
MAX_PIECES: Final = 8

# Where a tag has no room, as others' ids lie between, it is too long for a moment rather than set for each region.
_SMALLEST_BATCH: Final = 16


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
        """Tell whether `region`, at or behind the last one kept, lies in the target and on no other region."""
        free_from = self.kept[-1].end if self.kept else self.target.start
        return free_from <= region.start and region.end <= self.target.end

    def rejoin(self, leader: int | None = None) -> list[Region]:
        """Give up the kept regions for a single new one, and return them; the group's leader stays."""
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
    """Return the plan that brings `regions` to cover `ranges` with at most `most` of them.

    A region stays while it lies within what is to be covered; of two that overlap, a group's member
    (`members`, ids) goes before one that is not, then the longer one. With `join` every range is brought to one
    region, else only where it has more than MAX_PIECES, and the leader stays, so that the group keeps its id.
    """
    target = limited(ranges, most)
    exact, open_ranges, others = _exact(target, sorted(regions, key=_start), members)
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


_start = attrgetter("start")


def _exact(
    target: Sequence[Range], regions: Sequence[Region], members: Collection[int]
) -> tuple[list[Region], list[Range], list[Region]]:
    """Return, of `regions` by their start, the members that are just on a target range, nearly all, of which nothing
    else is to be decided; then what is left of the target and of the regions."""
    exact, open_ranges, others = [], [], []
    at = 0
    for piece in target:
        start, end = piece
        while at < len(regions) and regions[at].start < start:
            others.append(regions[at])
            at += 1
        region = regions[at] if at < len(regions) else None
        if region is not None and region.start == start and region.end == end and region.id in members:
            exact.append(region)
            at += 1
        else:
            open_ranges.append(piece)
    return exact, open_ranges, [*others, *regions[at:]]


def _covers(target: Sequence[Range], regions: Iterable[Region]) -> tuple[list[_Cover], list[Region]]:
    """Return for each target range what stays on it, and the regions that stay on none."""
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


def expected_ids(used: Collection[int], count: int) -> list[int]:
    """Return the ids that the next `count` regions will get: the lowest free ones."""
    taken = used if isinstance(used, (set, frozenset)) else set(used)
    ids: list[int] = []
    number = 0
    while len(ids) < count:
        if number not in taken:
            ids.append(number)
        number += 1
    return ids


def tag_fits(ids: Iterable[int], overhead: int) -> bool:
    """Tell whether a tag that lists `ids` and has `overhead` bytes beside them can be edited by libdm."""
    return len(members_text(as_ranges(ids))) + overhead <= MAX_TAG_BYTES


def surely_fits(plan: Plan, used: int, overhead: int) -> bool:
    """Tell whether the tag fits whatever ids the kernel gives, with so many regions (`used`) on the device."""
    longest = len(str(used + len(plan.create))) + 1
    return tag_fits([region.id for region in plan.keep], overhead + len(plan.create) * longest)


def compacted(plan: Plan, used: Collection[int], overhead: int, leader: int | None = None) -> Plan | None:
    """Return the plan, or one that comes to the same, such that the ids' list fits into a tag.

    Some of what is to go and lies on nothing that will be covered goes first, so that new regions get its ids; the
    `leader` does not, as the group's id would change twice. Where that isn't enough more regions are made anew:
    the kernel gives them the lowest free ids, so that each fills a hole. None where others' ids leave no way.
    """
    taken = frozenset(used)
    if _fits(plan.keep, taken, len(plan.create), overhead):
        return plan
    outside = [region for region in _outside(plan.target, plan.retire) if region.id != leader]
    free = taken.difference([region.id for region in outside])
    by_use = _by_use(plan.keep, leader)

    def fits(moved: int) -> bool:
        return _fits(by_use[moved:], free, len(plan.create) + moved, overhead)

    moved = _least(fits, len(by_use))
    if moved is None:
        return None
    given = set(expected_ids(free, len(plan.create) + moved))
    first = tuple(region for region in outside if region.id in given)
    if moved == 0:
        return replace(plan, first=first)
    again = by_use[:moved]
    return replace(
        plan,
        keep=tuple(by_use[moved:]),
        create=tuple(sorted([*plan.create, *(Range(r.start, r.end) for r in again)])),
        retire=tuple(sorted([*plan.retire, *again], key=lambda r: r.id)),
        first=first,
    )


def batches(regions: Sequence[Region], group: Group | None) -> Iterator[Sequence[Region]]:
    """Walk `regions` in batches so small that the group's tag, where there is one, still fits without any of them."""
    size = len(regions)
    if group is not None:
        number = len(str(group.regions[-1].id))
        # "1-9" becomes "1-4,6-9".
        longer = 2 * number + 2
        tag = replace(group.tag, members=as_ranges([region.id for region in group.regions]))
        size = max(_SMALLEST_BATCH, (MAX_TAG_BYTES - tag.length()) // longer)
    for at in range(0, len(regions), max(1, size)):
        yield regions[at : at + size]


def _fits(keep: Sequence[Region], taken: frozenset[int], count: int, overhead: int) -> bool:
    """Tell whether the tag fits with what stays and `count` new regions."""
    return tag_fits([*(region.id for region in keep), *expected_ids(taken, count)], overhead)


def _outside(target: Sequence[Range], regions: Iterable[Region]) -> list[Region]:
    """Return the regions that lie on no target range."""
    ends = [piece.end for piece in target]
    outside = []
    for region in regions:
        at = bisect_right(ends, region.start)
        if at == len(ends) or target[at].start >= region.end:
            outside.append(region)
    return outside


def _by_use(regions: Sequence[Region], leader: int | None) -> list[Region]:
    """Return the regions by how much it shortens the list of ids to give them others: those with the fewest
    neighbours first, of these the highest; the leader last."""
    runs = {number: len(run) for run in as_ranges(region.id for region in regions) for number in run}
    return sorted(regions, key=lambda r: (r.id == leader, runs[r.id], -r.id))


def _least(fits: Callable[[int], bool], most: int) -> int | None:
    """Return the least number up to `most` that fits, as far as more fit better; None where none was found."""
    if fits(0):
        return 0
    low, high = 0, 1
    while not fits(min(high, most)):
        if high >= most:
            return None
        low, high = high, 2 * high
    high = min(high, most)
    return low + 1 + bisect_left(range(low + 1, high), x=True, key=fits)
