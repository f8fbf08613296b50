"""Carry out a plan, in an order that leaves the group whole after every message.

1. New regions are made, each with the file's mark. Where a tag of their ids would be too long, some of what is to go
   goes before, so that they get its ids: it is marked, taken out of the tag, read and deleted (as in 2, 3 and 4).
2. What is to go gets this process's mark, so that it can be found once no tag lists it.
3. The tag is set on the lowest of the members that stay. A former leader that stays loses its own, and what was
   another file's is marked for this one: the file was replaced by one on the same blocks.
4. The counters of what is to go are read and handed on; only then it is deleted, lowest id first.

Killed between any two messages, the next run finds by tag or by mark all that this one made or left.
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Protocol

from dmstats.compaction import batches
from dmstats.counters import Counters
from dmstats.device import Device
from dmstats.errors import DmError
from dmstats.group import Group, as_ranges
from dmstats.marker import parse_mark
from dmstats.moves import Move, move_reason
from dmstats.ownership import GroupSpec, Own
from dmstats.plan import Plan
from dmstats.ranges import Range, joined, overlap
from dmstats.region import Region


@dataclass(frozen=True, slots=True)
class Retired:
    """A region's last counters. `key` distinguishes the region from later ones with its id."""

    key: str
    counters: Counters


class Retirement(Protocol):
    """Records the counters of regions that are deleted."""

    def before_delete(self, retired: Sequence[Retired]) -> None:
        """Record counters, which count once their regions have gone; return when they are safe."""

    def after_delete(self, retired: Sequence[Retired]) -> None:
        """The regions have gone."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The group after a plan was carried out: its members, ids ascending, none where it has no region.
    `failure` is why the rest of the plan was not carried out."""

    members: tuple[Region, ...]
    failure: DmError | None = None


def region_key(region: Region) -> str:
    """Return the key of `region`, which other regions of the file with its id don't have."""
    return f"{region.id}:{region.start}+{region.length}"


def apply(
    device: Device,
    plan: Plan,
    own: Own,
    spec: GroupSpec,
    mark: str,
    retirement: Retirement,
    before_move: Callable[[Move], None],
) -> Applied:
    """Carry out `plan` for a group with the properties `spec`; new regions get `mark`.

    `before_move` is called before the tag is set on a region that was not the group's leader. Where a region is
    refused the rest is left to a later run: the group is then set to what there is. Raises DmError for other
    messages that fail.
    """
    made = _make(device, plan, own, spec, mark, retirement)
    left = [region for region in plan.retire if region.id not in made.gone]
    stay = _kept_members(left, plan, made.created)
    leader = made.leader
    keep = [leader if leader.id == r.id else r for r in plan.keep] if leader is not None else plan.keep
    members = sorted([*keep, *made.created, *stay.values()], key=attrgetter("id"))
    retire = [_marked(device, region, mark, own) for region in left if region.id not in stay]
    if members:
        _tell_move(own, members[0].id, plan, spec, before_move)
        members = _set_tag(device, members, spec, mark)
    _retire(device, retire, members, retirement)
    return Applied(tuple(members), made.failure)


def _tell_move(own: Own, new: int, plan: Plan, spec: GroupSpec, before_move: Callable[[Move], None]) -> None:
    if own.group is None:
        before_move(Move(None, new, ""))
    elif own.group.id != new:
        before_move(Move(own.group.id, new, move_reason(own.group, plan, spec)))


@dataclass(slots=True)
class _Made:
    """What came of making regions: those made, the ids of what went first, the group's leader of before where its tag
    was set meanwhile, and what the kernel refused."""

    created: list[Region] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    leader: Region | None = None
    failure: DmError | None = None


def _make(device: Device, plan: Plan, own: Own, spec: GroupSpec, mark: str, retirement: Retirement) -> _Made:
    """Create the regions of `plan`.

    Those for which ids are free come first. Then a batch of `plan.first` is deleted and as many regions are created
    with its ids, and so on. Before a batch is deleted its ids leave the tag: another program may get them.
    """
    made = _Made()
    count = len(plan.create) - len(plan.first)
    made.failure = _create(device, plan.create[:count], spec, mark, made.created)
    for batch in batches(plan.first, own.group):
        if made.failure is not None:
            break
        marked = [_marked(device, region, mark, own) for region in batch]
        made.gone.update(region.id for region in batch)
        if own.group is not None:
            made.leader = _set_members(device, own.group, made)
        _retire(device, marked, (), retirement)
        at = len(made.created)
        made.failure = _create(device, plan.create[at : at + len(batch)], spec, mark, made.created)
    return made


def _set_members(device: Device, group: Group, made: _Made) -> Region:
    """Set the tag of a group, on its leader of before, to what is there of the ids that it has, and return the
    leader. What was made besides is found by its mark."""
    missing = made.gone.difference([region.id for region in made.created])
    members = as_ranges([region.id for region in group.regions if region.id not in missing])
    return _set_aux(device, group.leader, str(replace(group.tag, members=members)))


def _kept_members(retire: Sequence[Region], plan: Plan, created: Sequence[Region]) -> dict[int, Region]:
    """Return what was to go but stays, by id, as the kernel refused a region: one that was to take its place, or to
    get its id."""
    missing = plan.create[len(created) :]
    if not missing:
        return {}
    made = joined((region.start, region.end) for region in created)
    first = {region.id for region in plan.first}
    return {
        region.id: region
        for region in retire
        if region.id in first
        or (
            overlap([Range(region.start, region.end)], missing)
            and not overlap([Range(region.start, region.end)], made)
        )
    }


def _create(
    device: Device, ranges: Sequence[Range], spec: GroupSpec, mark: str, created: list[Region]
) -> DmError | None:
    """Create a region for each range and add it to `created`. Stop at, and return, the kernel's first error."""
    for start, end in ranges:
        try:
            number = device.create(
                start, end - start, precise=spec.precise, bounds=spec.bounds, program=spec.program, aux=mark
            )
        except DmError as error:
            return error
        created.append(
            Region(number, start, end - start, end - start, spec.program, mark, spec.precise, spec.bounds)
        )
    return None


def _marked(device: Device, region: Region, mark: str, own: Own) -> Region:
    """Mark a region that will be deleted.

    A leader keeps its tag until the new tag is set. The mark of another process is replaced: if that process
    outlives this one, it would be taken for the region's maker.
    """
    if region.aux == mark or region.aux.startswith("DMS_GROUP="):
        return region
    if own.group is not None and region.id == own.group.id:
        return region
    return _set_aux(device, region, mark)


def _set_aux(device: Device, region: Region, aux: str) -> Region:
    device.set_aux(region.id, aux)
    return region._replace(aux=aux)


def _set_tag(device: Device, members: Sequence[Region], spec: GroupSpec, mark: str) -> list[Region]:
    """Set the tag on the lowest member; mark other members that have a tag or another file's mark."""
    leader, *others = members
    tag = str(spec.tag(as_ranges(map(attrgetter("id"), members))))
    if leader.aux != tag:
        leader = _set_aux(device, leader, tag)
    strange = {aux for aux in {region.aux for region in others} if has_foreign_tag(aux, mark)}
    if strange:
        others = [_set_aux(device, r, mark) if r.aux in strange else r for r in others]
    return [leader, *others]


def has_foreign_tag(aux: str, mark: str) -> bool:
    """Return whether the aux of a member other than the leader is not as it should be in a group marked by `mark`:
    a tag, which a move that was cut short left, or the mark of the file that this one replaced."""
    theirs, own = parse_mark(aux), parse_mark(mark)
    if theirs is None or own is None:
        return aux.startswith("DMS_GROUP=")
    return (theirs.inode, theirs.generation) != (own.inode, own.generation)


def _retire(
    device: Device, regions: Sequence[Region], members: Sequence[Region], retirement: Retirement
) -> None:
    last = _last_counters(device, regions, members) if regions else []
    if not last:
        return
    retired = [Retired(region_key(region), counters) for region, counters in last]
    retirement.before_delete(retired)
    for region, _ in last:
        try:
            device.delete(region.id)
        except DmError as error:
            if error.errno != errno.ENOENT:
                raise
    retirement.after_delete(retired)


def _last_counters(
    device: Device, regions: Sequence[Region], members: Sequence[Region]
) -> list[tuple[Region, Counters]]:
    """Return the counters of `regions` less what `members` on the same sectors have counted already; regions that
    have gone are left out.

    Both count from the moment the newer one is made until the older one is read: what is in both is taken off
    here. That is so too where the newer one was made by a process that was killed. The two are read one right
    after the other.
    """
    members = sorted(members, key=lambda r: r.start)
    ends = [member.end for member in members]
    taken: dict[int, Counters] = {}
    last = []
    for old in regions:
        counters = _read(device, old)
        if counters is None:
            continue
        for new in members[bisect_right(ends, old.start) :]:
            if new.start >= old.end:
                break
            before = taken.get(new.id, Counters())
            fresh, _ = (_read(device, new) or Counters()).take(before)
            counters, left = counters.take(fresh)
            taken[new.id] = before + fresh.take(left)[0]
        last.append((old, counters.settled()))
    return last


def _read(device: Device, region: Region) -> Counters | None:
    """Return the region's counters, or None where it has gone."""
    try:
        return device.print(region)
    except DmError as error:
        if error.errno != errno.ENOENT:
            raise
        return None
