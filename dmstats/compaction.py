"""Which ids regions get, and how a plan is changed such that a tag of them stays short enough to be edited.
Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from dmstats.group import MAX_TAG_BYTES, Group, as_ranges, members_text
from dmstats.plan import Plan
from dmstats.ranges import Range
from dmstats.region import Region

# Where a tag has no room, as others' ids lie between, it is too long for a moment rather than set for each region.
_SMALLEST_BATCH: Final = 16


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
    """Return whether a tag that lists `ids` and has `overhead` bytes beside them can be edited by libdm."""
    return len(members_text(as_ranges(ids))) + overhead <= MAX_TAG_BYTES


def tag_surely_fits(plan: Plan, used: int, overhead: int) -> bool:
    """Return whether the tag fits with any ids that the kernel may give, with `used` regions on the device."""
    longest = len(str(used + len(plan.create))) + 1
    return tag_fits([region.id for region in plan.keep], overhead + len(plan.create) * longest)


def compacted(plan: Plan, used: Collection[int], overhead: int, leader: int | None = None) -> Plan | None:
    """Return the plan, or one with the same cover, such that the list of ids fits into a tag; None where the ids
    of other programs' regions leave no way.

    Regions to delete that overlap nothing of the target are deleted first, so that new regions get their ids. The
    `leader` is not, as the group's id would change twice. Where that isn't enough, more regions are created again:
    the kernel gives each the lowest free id, so that it fills a hole.
    """
    taken = frozenset(used)
    if _fits(plan.keep, len(plan.create), taken, overhead):
        return plan
    outside = [region for region in _outside(plan.target, plan.retire) if region.id != leader]
    free = taken.difference([region.id for region in outside])
    fits = partial(_fits, taken=free, overhead=overhead)
    if not fits(plan.keep, len(plan.create)):
        by_use = _by_use(plan.keep, leader)
        moved = _least(lambda count: fits(by_use[count:], len(plan.create) + count), len(by_use))
        if moved is None:
            return None
        again = by_use[:moved]
        plan = replace(
            plan,
            keep=tuple(by_use[moved:]),
            create=tuple(sorted([*plan.create, *(Range(r.start, r.end) for r in again)])),
            retire=tuple(sorted([*plan.retire, *again], key=lambda r: r.id)),
        )
    given = set(expected_ids(free, len(plan.create)))
    return replace(plan, first=tuple(region for region in outside if region.id in given))


def batches(regions: Sequence[Region], group: Group | None) -> Iterator[Sequence[Region]]:
    """Yield `regions` in batches so small that the group's tag, where there is one, still fits without any of
    them."""
    size = len(regions)
    if regions and group is not None:
        number = len(str(group.regions[-1].id))
        # "1-9" becomes "1-4,6-9".
        longer = 2 * number + 2
        tag = replace(group.tag, members=as_ranges([region.id for region in group.regions]))
        size = max(_SMALLEST_BATCH, (MAX_TAG_BYTES - tag.length()) // longer)
    for at in range(0, len(regions), max(1, size)):
        yield regions[at : at + size]


def _fits(keep: Sequence[Region], count: int, taken: frozenset[int], overhead: int) -> bool:
    """Return whether the tag fits with the retained and `count` new regions."""
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
    """Return the least number from 1 to `most` that fits, as far as more fit better; None where none was found."""
    low, high = 0, 1
    while not fits(min(high, most)):
        if high >= most:
            return None
        low, high = high, 2 * high
    high = min(high, most)
    return low + 1 + bisect_left(range(low + 1, high), x=True, key=fits)
