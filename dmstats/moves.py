"""Why a group gets another id. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dmstats.group import Group
from dmstats.ownership import GroupSpec
from dmstats.plan import Plan
from dmstats.ranges import Range


@dataclass(frozen=True, slots=True)
class Move:
    """A group is about to get another id. `old` is None where no group was found; then `reason` is empty, as only the
    follower of the file knows why."""

    old: int | None
    new: int
    reason: str


def move_reason(group: Group, plan: Plan, spec: GroupSpec) -> str:
    """Return why `group`, of `spec`, has another lowest member after `plan`."""
    leader = group.leader
    if any(region.id == leader.id for region in plan.keep):
        return "a new region got a lower id"
    if (leader.program, leader.precise, leader.bounds) != (spec.program, spec.precise, spec.bounds):
        return "the options were changed"
    if not any(piece.start <= leader.start and leader.end <= piece.end for piece in plan.target):
        return "the first region's extent was freed"
    if Range(leader.start, leader.end) in plan.create:
        return "the regions were created again, as their ids did not fit into a tag"
    return "the regions were joined"
