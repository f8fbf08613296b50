"""Why a group moves, and which moves are events."""

from __future__ import annotations

import pytest

from dmstats.filemap import new_spec
from dmstats.files import FileIdentity
from dmstats.group import Group, as_ranges
from dmstats.moves import Move, move_reason
from dmstats.plan import Plan
from dmstats.ranges import Range
from dmstats.region import Region
from workers.last_id import LastId

SPEC = new_spec(FileIdentity(1, 12, 7), alias="vm.img")


def region(number: int, start: int, end: int) -> Region:
    """Return a region with SPEC's options."""
    return Region(number, start, end - start, end - start, SPEC.program, "-", SPEC.precise, SPEC.bounds)


LEADER = region(3, 0, 8)
GROUP = Group(SPEC.tag(as_ranges([3])), (LEADER,))


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (Plan((Range(0, 8), Range(16, 24)), (LEADER,), (Range(16, 24),), ()), "a new region got a lower id"),
        (Plan((Range(16, 24),), (), (Range(16, 24),), (LEADER,)), "the first region's extent was freed"),
        (Plan((Range(0, 4),), (), (Range(0, 4),), (LEADER,)), "the first region's extent was freed"),
        (Plan((Range(0, 24),), (), (Range(0, 24),), (LEADER,)), "the regions were joined"),
        (
            Plan((Range(0, 8),), (), (Range(0, 8),), (LEADER,)),
            "the regions were created again, as their ids did not fit into a tag",
        ),
    ],
)
def test_why(plan: Plan, why: str) -> None:
    """The plan has the reason: what happens to the leader, and what replaces it."""
    assert move_reason(GROUP, plan, SPEC) == why


def test_changed_options() -> None:
    """A leader with other options than the group's is replaced for that reason."""
    other = new_spec(FileIdentity(1, 12, 7), alias="vm.img", bounds_ns=(1000,), precise=True)
    plan = Plan((Range(0, 8),), (), (Range(0, 8),), (LEADER,))
    assert move_reason(GROUP, plan, other) == "the options were changed"


def test_first_group_is_no_move() -> None:
    """A new group, or one with an unchanged id, is no move."""
    first = LastId(None)
    assert first.explain(Move(None, 4, ""), replaced=False) is None
    first.update(4)
    assert first.explain(Move(None, 4, ""), replaced=False) is None


def test_why_a_group_is_created_again() -> None:
    """The reason is the first that is known: at the start only that the group is missing."""
    last = LastId(4)
    assert last.explain(Move(None, 5, ""), replaced=False) == Move(None, 5, "the group was deleted")
    last.update(5)
    last.lost("there was no group 5")
    last.update(None)
    assert last.explain(Move(None, 6, ""), replaced=False) == Move(None, 6, "there was no group 5")
    last.update(5)
    last.update(None)
    assert last.explain(Move(None, 6, ""), replaced=False) == Move(None, 6, "the file was empty")
    last.lost("the file was missing")
    assert last.explain(Move(None, 6, ""), replaced=True) == Move(None, 6, "the file was missing")


def test_a_group_that_is_found_under_another_id() -> None:
    """It is a move, unless it may have had the id before."""
    last = LastId(4)
    assert last.found(4, ()) is None
    assert last.found(5, {4, 5}) is None
    assert last.found(5, {4}) == Move(None, 5, "another program changed the group")
    last.lost("there was no group 4")
    assert last.found(5, {4}) == Move(None, 5, "there was no group 4")
    assert LastId(None).found(5, ()) is None


def test_another_file_at_the_path() -> None:
    """Moves by a plan for a new file at the path have that reason."""
    last = LastId(4)
    move = Move(4, 5, "the first region's extent was freed")
    assert last.explain(move, replaced=False) == move
    assert last.explain(move, replaced=True) == Move(4, 5, "another file is at the path")
