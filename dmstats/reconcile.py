"""One reconcile: brings a file's group in step with its ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dmstats.apply import Applied, Retired, Retirement, apply, has_foreign_tag
from dmstats.compaction import compacted, tag_surely_fits
from dmstats.device import SECTOR, Device
from dmstats.errors import DmError
from dmstats.files import FileIdentity
from dmstats.group import Group, as_ranges
from dmstats.marker import parse_mark, process_mark
from dmstats.moves import Move
from dmstats.ownership import GroupSpec, Own
from dmstats.plan import Plan, decide
from dmstats.ranges import Footprint, joined, overlap, total
from dmstats.region import Region, Table

UNLIMITED: Final = 2**31


@dataclass(frozen=True, slots=True)
class Limits:
    """The maximum number of regions: `file` is the file's own, `grant` its part of the device's budget, `device` that
    of all programs together on the device. With `retain` a group keeps its regions beyond the last two, but gets no
    more of a device that is half full: other groups may grow at the same time. A group that another program made has
    no limit."""

    file: int = UNLIMITED
    grant: int = UNLIMITED
    device: int = UNLIMITED
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A group after a reconcile. `uncovered_bytes`: the file's bytes that no region counts. `excess_bytes`: other
    bytes that are counted with it. `limit` names the limit that caused them, `failure` is what the kernel refused."""

    group_id: int | None
    members: tuple[Region, ...]
    extents: int
    uncovered_bytes: int
    excess_bytes: int
    created: int
    retired: int
    limit: str | None = None
    failure: DmError | None = None
    joinable: bool = False
    """Whether there are more regions than ranges: some could be one."""
    size_bytes: int = 0
    """The file's bytes on disk, and those without a place on the device."""
    in_order: bool = False
    """Whether all was as it should be already, and no message was sent."""


NOTHING: Final = Outcome(None, (), 0, 0, 0, 0, 0)


class DiscardCounters:
    """A Retirement that discards the counters."""

    def before_delete(self, retired: Sequence[Retired]) -> None:
        """Keep nothing."""

    def after_delete(self, retired: Sequence[Retired]) -> None:
        """Keep nothing."""


def reconcile(
    device: Device,
    file: FileIdentity,
    where: Footprint,
    table: Table,
    own: Own,
    spec: GroupSpec,
    *,
    limits: Limits,
    retirement: Retirement,
    join: bool = False,
    before_move: Callable[[Move], None] = lambda _move: None,
) -> Outcome:
    """Bring the group of `own` in step with `where`. `table` are all of the device's, of all programs.

    Raises DmError for a message that failed, other than a create (see Outcome.failure).
    """
    plan, limit = plan_within(where, table, own, spec, limits, join=join)
    mark = str(process_mark(file))
    if own.group is not None and plan.idle and _in_order(own.group, plan.keep, spec, mark):
        return replace(_outcome(where, Applied(own.group.regions), plan, limit), in_order=True)
    return _outcome(where, apply(device, plan, own, spec, mark, retirement, before_move), plan, limit)


def _in_order(group: Group, keep: Sequence[Region], spec: GroupSpec, mark: str) -> bool:
    """Return whether the group's tag lists exactly these members, and they have no other tag or mark."""
    return group.tag == spec.tag(as_ranges([region.id for region in keep])) and not any(
        has_foreign_tag(aux, mark) for aux in {region.aux for region in group.regions[1:]}
    )


def plan_within(
    where: Footprint, table: Table, own: Own, spec: GroupSpec, limits: Limits, *, join: bool
) -> tuple[Plan, str | None]:
    """Return the plan within the limits and within what a tag can list, and the limit that was reached.

    Over a limit the largest ranges are covered: a region never counts the I/O of another file.
    """
    alike, others = _by_options(own, spec)
    if parse_mark(spec.userdata) is None:
        limits = Limits()
    room = min(limits.grant, limits.device - (len(table) - len(own.regions)))
    if limits.retain and own.regions:
        room = max(room, len(own.regions)) if len(table) < limits.device // 2 else len(own.regions)
    most = max(1, min(limits.file, room))
    members = own.members()
    leader = own.group.id if own.group is not None else None
    overhead = spec.tag(()).length()
    while True:
        plan = decide(where.ranges, alike, most=most, members=members, join=join)
        if others:
            plan = replace(plan, retire=(*plan.retire, *others))
        sure = tag_surely_fits(plan, len(table), overhead)
        fitting = plan if sure else compacted(plan, table.ids(), overhead, leader)
        if fitting is not None:
            break
        most = max(1, min(most, len(plan.target)) // 2)
    if len(fitting.target) == len(where.ranges):
        return fitting, None
    if most < min(limits.file, room):
        return fitting, "the length of a group's tag"
    return fitting, "max_regions of the file" if limits.file <= room else "the budget of the device"


def _by_options(own: Own, spec: GroupSpec) -> tuple[Sequence[Region], list[Region]]:
    """Return the regions with the group's options, and those to create again as its options were changed. A group of
    another program may have regions with different options, which stay."""
    if parse_mark(spec.userdata) is None:
        return own.regions, []
    options = (spec.program, spec.precise, spec.bounds)
    others = [r for r in own.regions if (r.program, r.precise, r.bounds) != options]
    if not others:
        return own.regions, others
    return [r for r in own.regions if (r.program, r.precise, r.bounds) == options], others


def _outcome(where: Footprint, applied: Applied, plan: Plan, limit: str | None) -> Outcome:
    covered = plan.target
    if applied.failure is not None:
        covered = joined((region.start, region.end) for region in applied.members)
    uncovered = excess = 0
    if covered != where.ranges:
        shared = overlap(where.ranges, covered)
        uncovered, excess = total(where.ranges) - shared, total(covered) - shared
    return Outcome(
        applied.members[0].id if applied.members else None,
        applied.members,
        where.extents,
        uncovered * SECTOR + where.unplaced_bytes,
        excess * SECTOR,
        len(plan.create),
        len(plan.retire),
        limit,
        applied.failure,
        applied.failure is None and len(applied.members) > len(plan.target),
        total(where.ranges) * SECTOR + where.unplaced_bytes,
    )
