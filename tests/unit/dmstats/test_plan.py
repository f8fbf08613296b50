"""The plan: which regions are retained, created and retired, against models that check every sector."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from dmstats.plan import MAX_PIECES, Plan, decide, decide_growth
from dmstats.ranges import Range, joined
from dmstats.region import Region

UNLIMITED = 2**31
RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=8
).map(joined)


def region(number: int, start: int, end: int) -> Region:
    """Return one of our regions."""
    return Region(number, start, end - start, end - start, "dmstats", "-")


@st.composite
def region_lists(draw: st.DrawFn) -> list[Region]:
    """Draw regions with scattered ids, which may overlap."""
    places = draw(st.lists(st.tuples(st.integers(0, 70), st.integers(1, 12)), max_size=14))
    ids = draw(st.lists(st.integers(0, 40), min_size=len(places), max_size=len(places), unique=True))
    return [region(n, start, start + length) for n, (start, length) in zip(ids, places, strict=True)]


def sectors(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return every sector of the ranges, repeated for overlaps."""
    return [sector for start, end in ranges for sector in range(start, end)]


def covered(plan: Plan) -> list[tuple[int, int]]:
    """Return the ranges of retained and created regions."""
    return [*((r.start, r.end) for r in plan.keep), *plan.create]


@given(RANGES, region_lists(), st.sampled_from([1, 2, 3, 5, 8, UNLIMITED]), st.booleans(), st.data())
def test_any_plan(
    ranges: tuple[Range, ...], regions: list[Region], most: int, join: bool, data: st.DataObject
) -> None:
    """Retained and created regions cover the target exactly and once, within the limit. Every region is
    either retained, fully inside the target, or retired."""
    members = data.draw(st.sets(st.sampled_from([r.id for r in regions]))) if regions else set()
    plan = decide(ranges, regions, most=most, members=members, join=join)
    assert set(plan.target) <= set(ranges)
    assert len(plan.target) == min(most, len(ranges))
    assert sorted(sectors(covered(plan))) == sorted(sectors(plan.target))
    assert len(plan.keep) + len(plan.create) <= most
    assert sorted(r.id for r in [*plan.keep, *plan.retire]) == sorted(r.id for r in regions)
    assert list(plan.retire) == sorted(plan.retire, key=lambda r: r.id)
    assert plan.idle == (not plan.create and not plan.retire)
    if join:
        assert len(plan.keep) + len(plan.create) == len(plan.target)
    for target in plan.target:
        pieces = [piece for piece in covered(plan) if target.start <= piece[0] < target.end]
        assert len(pieces) <= MAX_PIECES


@given(RANGES, region_lists(), st.sampled_from([1, 3, UNLIMITED]), st.booleans())
def test_second_plan_has_nothing_to_do(
    ranges: tuple[Range, ...], regions: list[Region], most: int, join: bool
) -> None:
    """After a plan was applied, the next one for the same ranges changes nothing."""
    plan = decide(ranges, regions, most=most, join=join)
    after = [*plan.keep, *(region(100 + i, *piece) for i, piece in enumerate(plan.create))]
    again = decide(ranges, after, most=most, join=join)
    assert again.idle
    assert {r.id for r in again.keep} == {r.id for r in after}


@given(RANGES, RANGES)
def test_growth_retains_regions(before: tuple[Range, ...], more: tuple[Range, ...]) -> None:
    """A growing file retains all its regions, unless one range would be in too many pieces."""
    regions = [region(i, *piece) for i, piece in enumerate(before)]
    after = joined([*before, *more])
    assume(all(sum(1 for r in regions if t.start <= r.start < t.end) * 2 < MAX_PIECES for t in after))
    plan = decide(after, regions, most=UNLIMITED)
    assert plan.retire == ()
    assert sorted(sectors(plan.create)) == sorted(set(sectors(after)) - set(sectors(before)))


@given(RANGES, RANGES, st.sampled_from([1, 3, 8, UNLIMITED]), st.data())
def test_plan_for_growth(
    before: tuple[Range, ...], added: tuple[Range, ...], most: int, data: st.DataObject
) -> None:
    """For regions that cover a file, however cut, the plan for the growth equals the plan for the whole
    file."""
    cuts = {sector for start, end in before for sector in (start, end)}
    cuts |= set(data.draw(st.lists(st.sampled_from(sectors(before)), max_size=12))) if before else set()
    pieces = [p for p in pairwise(sorted(cuts)) if any(r.start <= p[0] and p[1] <= r.end for r in before)]
    ids = data.draw(st.permutations(range(len(pieces))))
    regions = [region(n, *piece) for n, piece in zip(ids, pieces, strict=True)]
    assume(regions and decide(before, regions, most=most, members=ids).idle)
    ranges = joined([*before, *added])
    plan = decide_growth(regions, added, most=most, leader=0)
    if plan is None:
        after = decide(ranges, regions, most=UNLIMITED, members=ids)
        assert len(after.keep) + len(after.create) > most
        return
    after = decide(ranges, regions, most=most, members=ids)
    assert plan.create == after.create
    assert plan.retire == after.retire
    assert sorted(plan.keep) == sorted(after.keep)
    assert all(piece in after.target for piece in plan.target)


def test_only_ranges_near_growth_are_checked() -> None:
    """Only ranges near the growth are checked; pieces of one range count together, whichever the growth
    touches."""
    far, near = region(0, 0, 10), region(1, 20, 30)
    plan = decide_growth([far, near], [Range(30, 40)], most=UNLIMITED, leader=0)
    assert plan == Plan((Range(20, 40),), (far, near), (Range(30, 40),), ())
    pieces = [region(i, 10 * i, 10 * i + 10) for i in range(MAX_PIECES)]
    for came in (Range(10 * MAX_PIECES, 10 * MAX_PIECES + 10), Range(5, 10 * MAX_PIECES + 10)):
        plan = decide_growth(pieces, [came], most=UNLIMITED, leader=0)
        assert plan is not None
        assert (plan.keep, plan.retire) == ((pieces[0],), tuple(pieces[1:]))
    assert decide_growth([far, near], [Range(50, 60)], most=2, leader=0) is None


def test_growth_of_a_range_adds_one_region() -> None:
    """An extent that grew retains its region with its counters, and gets one more for the growth."""
    old = region(0, 10, 20)
    assert decide([Range(10, 30)], [old], most=UNLIMITED) == Plan(
        (Range(10, 30),), (old,), (Range(20, 30),), ()
    )
    assert decide([Range(0, 30)], [old], most=UNLIMITED).create == (Range(0, 10), Range(20, 30))


def test_a_shrunk_range_is_recreated() -> None:
    """A region that is no longer fully inside the file is retired, and the rest of it recreated."""
    old = region(0, 10, 30)
    plan = decide([Range(10, 20)], [old], most=UNLIMITED)
    assert (plan.keep, plan.create, plan.retire) == ((), (Range(10, 20),), (old,))


def test_too_many_pieces_are_rejoined() -> None:
    """A range in MAX_PIECES pieces is unchanged; with one piece more a single new region replaces them."""
    pieces = [region(i, 10 * i, 10 * i + 10) for i in range(MAX_PIECES + 1)]
    left = decide([Range(0, 10 * MAX_PIECES)], pieces[:MAX_PIECES], most=UNLIMITED)
    assert left.idle
    whole = Range(0, 10 * MAX_PIECES + 10)
    plan = decide([whole], pieces, most=UNLIMITED)
    assert (plan.keep, plan.create, plan.retire) == ((), (whole,), tuple(pieces))


def test_join() -> None:
    """With `join` every range becomes one region; a range with one region retains it with its counters."""
    one, two, alone = region(0, 0, 10), region(1, 10, 20), region(2, 30, 40)
    ranges = [Range(0, 20), Range(30, 40)]
    assert decide(ranges, [one, two, alone], most=UNLIMITED).idle
    plan = decide(ranges, [one, two, alone], most=UNLIMITED, join=True)
    assert (plan.keep, plan.create, plan.retire) == ((alone,), (Range(0, 20),), (one, two))


def test_members_go_before_others() -> None:
    """Of two regions on the same sectors the group's member is retained, though the other is longer or has a
    lower id."""
    stray, member = region(0, 0, 20), region(5, 0, 10)
    plan = decide([Range(0, 20)], [stray, member], most=UNLIMITED, members={5})
    assert (plan.keep, plan.create, plan.retire) == ((member,), (Range(10, 20),), (stray,))
    assert decide([Range(0, 20)], [stray, member], most=UNLIMITED).keep == (stray,)


def test_twins() -> None:
    """Of two members on exactly the same sectors the lower id is retained, and nothing is created."""
    one, other = region(3, 0, 20), region(5, 0, 20)
    plan = decide([Range(0, 20)], [one, other], most=UNLIMITED, members={3, 5})
    assert (plan.keep, plan.create, plan.retire) == ((one,), (), (other,))


def test_limit_covers_the_largest_ranges() -> None:
    """With fewer regions than ranges the largest ranges are covered, and nothing else. One that is covered is
    replaced by a range of more than twice its length only."""
    ranges = [Range(0, 10), Range(100, 111), Range(112, 120)]
    assert decide(ranges, [], most=2).create == (Range(0, 10), Range(100, 111))
    assert decide(ranges, [region(0, 0, 10), region(1, 112, 120)], most=2).idle
    plan = decide([*ranges, Range(200, 221)], [region(0, 0, 10), region(1, 112, 120)], most=2)
    assert (plan.target, [one.id for one in plan.retire]) == ((Range(0, 10), Range(200, 221)), [1])


def test_no_ranges() -> None:
    """For a file without extents all regions are retired and none created."""
    old = region(3, 0, 10)
    assert decide([], [old], most=UNLIMITED) == Plan((), (), (), (old,))


def test_plan_is_linear() -> None:
    """Fifty thousand ranges and regions take no quadratic time, which would be hours."""
    regions = [region(i, 4 * i, 4 * i + 2) for i in range(50_000)]
    grown = [Range(4 * i, 4 * i + 3) for i in range(50_000)]
    plan = decide(grown, regions, most=UNLIMITED)
    assert (len(plan.keep), len(plan.create), len(plan.retire)) == (50_000, 50_000, 0)
