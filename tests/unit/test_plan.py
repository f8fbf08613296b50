"""The plan: what is kept, made and retired, against models that look at every sector."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from dmstats.group import MAX_TAG_BYTES, Group, Tag, as_ranges, members_text
from dmstats.plan import MAX_PIECES, Plan, batches, compacted, decide, expected_ids, surely_fits, tag_fits
from dmstats.ranges import Range, joined, limited
from dmstats.region import Region

UNLIMITED = 2**31
RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda p: (p[0], p[0] + p[1])), max_size=8
).map(joined)


def region(number: int, start: int, end: int) -> Region:
    """Return a region of ours."""
    return Region(number, start, end - start, end - start, "dmstats", "-")


@st.composite
def region_lists(draw: st.DrawFn) -> list[Region]:
    """Draw regions with scattered ids, which may overlap."""
    places = draw(st.lists(st.tuples(st.integers(0, 70), st.integers(1, 12)), max_size=14))
    ids = draw(st.lists(st.integers(0, 40), min_size=len(places), max_size=len(places), unique=True))
    return [region(n, start, start + length) for n, (start, length) in zip(ids, places, strict=True)]


def sectors(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return every sector of ranges, as often as it occurs."""
    return [sector for start, end in ranges for sector in range(start, end)]


def covered(plan: Plan) -> list[tuple[int, int]]:
    """Return what stays and what is made."""
    return [*((r.start, r.end) for r in plan.keep), *plan.create]


@given(RANGES, region_lists(), st.sampled_from([1, 2, 3, 5, 8, UNLIMITED]), st.booleans(), st.data())
def test_any_plan(
    ranges: tuple[Range, ...], regions: list[Region], most: int, join: bool, data: st.DataObject
) -> None:
    """What stays and what is made cover the target exactly and once, with at most so many regions; every region
    either stays, wholly within the target, or is retired."""
    members = data.draw(st.sets(st.sampled_from([r.id for r in regions]))) if regions else set()
    plan = decide(ranges, regions, most=most, members=members, join=join)
    assert plan.target == limited(ranges, most)
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
    """Where a plan was carried out, the next one for the same ranges changes nothing."""
    plan = decide(ranges, regions, most=most, join=join)
    after = [*plan.keep, *(region(100 + i, *piece) for i, piece in enumerate(plan.create))]
    again = decide(ranges, after, most=most, join=join)
    assert again.idle
    assert {r.id for r in again.keep} == {r.id for r in after}


@given(RANGES, RANGES)
def test_growth_keeps_what_is_there(before: tuple[Range, ...], more: tuple[Range, ...]) -> None:
    """A file that only grows keeps all its regions, unless one range would be in too many pieces."""
    regions = [region(i, *piece) for i, piece in enumerate(before)]
    after = joined([*before, *more])
    assume(all(sum(1 for r in regions if t.start <= r.start < t.end) * 2 < MAX_PIECES for t in after))
    plan = decide(after, regions, most=UNLIMITED)
    assert plan.retire == ()
    assert sorted(sectors(plan.create)) == sorted(set(sectors(after)) - set(sectors(before)))


def test_growth_of_a_range_adds_one_region() -> None:
    """An extent that grew keeps its region, with its counters, and gets one more for what is new."""
    old = region(0, 10, 20)
    assert decide([Range(10, 30)], [old], most=UNLIMITED) == Plan(
        (Range(10, 30),), (old,), (Range(20, 30),), ()
    )
    assert decide([Range(0, 30)], [old], most=UNLIMITED).create == (Range(0, 10), Range(20, 30))


def test_a_shrunk_range_is_made_anew() -> None:
    """A region that isn't wholly within the file any more goes, and what remains of it is made anew."""
    old = region(0, 10, 30)
    plan = decide([Range(10, 20)], [old], most=UNLIMITED)
    assert (plan.keep, plan.create, plan.retire) == ((), (Range(10, 20),), (old,))


def test_too_many_pieces_are_rejoined() -> None:
    """A range in MAX_PIECES pieces is left so; one piece more, and a single new region takes their place."""
    pieces = [region(i, 10 * i, 10 * i + 10) for i in range(MAX_PIECES + 1)]
    left = decide([Range(0, 10 * MAX_PIECES)], pieces[:MAX_PIECES], most=UNLIMITED)
    assert left.idle
    whole = Range(0, 10 * MAX_PIECES + 10)
    plan = decide([whole], pieces, most=UNLIMITED)
    assert (plan.keep, plan.create, plan.retire) == ((), (whole,), tuple(pieces))


def test_join() -> None:
    """Asked to join, every range becomes one region; one that is already stays, with its counters."""
    one, two, alone = region(0, 0, 10), region(1, 10, 20), region(2, 30, 40)
    ranges = [Range(0, 20), Range(30, 40)]
    assert decide(ranges, [one, two, alone], most=UNLIMITED).idle
    plan = decide(ranges, [one, two, alone], most=UNLIMITED, join=True)
    assert (plan.keep, plan.create, plan.retire) == ((alone,), (Range(0, 20),), (one, two))


def test_members_go_before_others() -> None:
    """Of two regions on the same sectors the group's member stays, though the other is longer or has a lower id."""
    stray, member = region(0, 0, 20), region(5, 0, 10)
    plan = decide([Range(0, 20)], [stray, member], most=UNLIMITED, members={5})
    assert (plan.keep, plan.create, plan.retire) == ((member,), (Range(10, 20),), (stray,))
    assert decide([Range(0, 20)], [stray, member], most=UNLIMITED).keep == (stray,)


def test_twins() -> None:
    """Of two members on just the same sectors the one with the lower id stays, and nothing is made."""
    one, other = region(3, 0, 20), region(5, 0, 20)
    plan = decide([Range(0, 20)], [one, other], most=UNLIMITED, members={3, 5})
    assert (plan.keep, plan.create, plan.retire) == ((one,), (), (other,))


def test_limit_bridges_the_smallest_gap() -> None:
    """With fewer regions than ranges, those with the smallest gap between them share one."""
    ranges = [Range(0, 10), Range(100, 110), Range(112, 120)]
    plan = decide(ranges, [], most=2)
    assert plan.create == (Range(0, 10), Range(100, 120))


def test_no_ranges() -> None:
    """A file without extents retires all and makes nothing."""
    old = region(3, 0, 10)
    assert decide([], [old], most=UNLIMITED) == Plan((), (), (), (old,))


def test_plan_is_linear() -> None:
    """Fifty thousand ranges and regions take no quadratic time: this would take hours then."""
    regions = [region(i, 4 * i, 4 * i + 2) for i in range(50_000)]
    grown = [Range(4 * i, 4 * i + 3) for i in range(50_000)]
    plan = decide(grown, regions, most=UNLIMITED)
    assert (len(plan.keep), len(plan.create), len(plan.retire)) == (50_000, 50_000, 0)


def allocate(used: Collection[int], count: int) -> list[int]:
    """Return the ids that the kernel gives, one region after the other."""
    taken = set(used)
    given_ids = []
    for _ in range(count):
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        taken.add(number)
        given_ids.append(number)
    return given_ids


@given(st.sets(st.integers(0, 50)), st.integers(0, 40))
def test_expected_ids(used: set[int], count: int) -> None:
    """The ids that are expected are those that the kernel gives: the lowest free ones, one by one."""
    assert expected_ids(used, count) == allocate(used, count)
    assert expected_ids(frozenset(used), count) == expected_ids(sorted(used), count)


def test_tag_fits() -> None:
    """A list fits up to just the length that libdm can edit."""
    ids = range(0, 100, 2)
    length = len(members_text(as_ranges(ids)))
    assert tag_fits(ids, MAX_TAG_BYTES - length)
    assert not tag_fits(ids, MAX_TAG_BYTES - length + 1)


@st.composite
def scattered(draw: st.DrawFn) -> tuple[Plan, set[int], int]:
    """Draw a plan that keeps scattered regions, among ids that are others', and a tag's other bytes."""
    count = draw(st.integers(0, 300))
    density = draw(st.floats(0, 1))
    rng = random.Random(draw(st.integers(0, 2**32)))
    ids = rng.sample(range(1200), count)
    others = {n for n in range(1200) if rng.random() < density} - set(ids)
    going = set(ids[: count // draw(st.integers(2, 6))])
    keep = tuple(region(n, 4 * n, 4 * n + 2) for n in sorted(set(ids) - going))
    # Some of what goes lies on what is made.
    create = [Range(4 * n, 4 * n + 1) for n in going if rng.random() < density / 4]
    create += [Range(10_000 + 4 * i, 10_002 + 4 * i) for i in range(draw(st.integers(0, 50)))]
    retire = tuple(region(n, 4 * n, 4 * n + 2) for n in sorted(going))
    target = joined([*((r.start, r.end) for r in keep), *create])
    return Plan(target, keep, tuple(sorted(create)), retire), others, draw(st.integers(20, 500))


@given(scattered())
def test_compacted_fits(drawn: tuple[Plan, set[int], int]) -> None:
    """The tag of a compacted plan fits once the kernel gave its ids, whatever ids others hold: the plan still
    covers the same, and what is made anew is retired. What goes first lies on nothing that is covered, and is not
    the leader."""
    plan, others, overhead = drawn
    all_ids = {r.id for r in [*plan.keep, *plan.retire]}
    used = others | all_ids
    leader = min(all_ids, default=None)
    result = compacted(plan, used, overhead, leader)
    if result is None:
        # There is no way, even if all were made anew.
        outside = {r.id for r in plan.retire} - {leader}
        outside -= {r.id for r in plan.retire if set(sectors([(r.start, r.end)])) & set(sectors(plan.target))}
        ids = allocate(used - outside, len(plan.create) + len(plan.keep))
        assert not tag_fits(ids, overhead)
        return
    first = {r.id for r in result.first}
    ids = [*(r.id for r in result.keep), *allocate(used - first, len(result.create))]
    assert len(members_text(as_ranges(ids))) + overhead <= MAX_TAG_BYTES
    assert result.target == plan.target
    assert sorted(sectors(covered(result))) == sorted(sectors(covered(plan)))
    kept, retired = {r.id for r in result.keep}, {r.id for r in result.retire}
    assert kept | retired == all_ids
    assert not kept & retired
    assert set(result.first) <= set(plan.retire)
    assert leader not in first
    assert not set(sectors([(r.start, r.end) for r in result.first])) & set(sectors(plan.target))
    if tag_fits([*(r.id for r in plan.keep), *allocate(used, len(plan.create))], overhead):
        assert result == plan


@given(scattered())
def test_what_surely_fits(drawn: tuple[Plan, set[int], int]) -> None:
    """Where a tag is said to fit whatever ids others hold, it fits with the ids that the kernel gives."""
    plan, others, overhead = drawn
    used = others | {r.id for r in [*plan.keep, *plan.retire]}
    ids = [*(r.id for r in plan.keep), *allocate(used, len(plan.create))]
    assert tag_fits(ids, overhead) or not surely_fits(plan, len(used), overhead)


def test_freed_ids_are_used_again() -> None:
    """Where a tenth of many regions goes, scattered, and as many come, these get their ids and nothing else is made
    anew; but the leader's stays free."""
    regions = [region(n, 4 * n, 4 * n + 2) for n in range(10_000)]
    going = set(random.Random(1).sample(range(10_000), 1_000)) | {0}
    ranges = [Range(r.start, r.end) for r in regions if r.id not in going]
    ranges += [Range(50_000 + 4 * n, 50_002 + 4 * n) for n in range(len(going))]
    plan = decide(ranges, regions, most=UNLIMITED, members=range(10_000))
    result = compacted(plan, range(10_000), 40, leader=0)
    assert result is not None
    assert (result.keep, result.create, result.retire) == (plan.keep, plan.create, plan.retire)
    assert {r.id for r in result.first} == going - {0}


def test_few_are_made_anew() -> None:
    """Where more goes than comes, regions without neighbours are made anew, and no more of them than the tag asks
    for: each saves two places in it, its own and the hole that it fills."""
    single, row = range(0, 1000, 2), range(1001, 9000)
    keep = tuple(region(n, 4 * n, 4 * n + 2) for n in [*single, *row])
    plan = Plan(joined((r.start, r.end) for r in keep), keep, (), ())
    result = compacted(plan, [*single, *row], 40, leader=0)
    assert result is not None
    assert {r.id for r in result.retire} == set(single[len(single) - len(result.retire) :])
    stay = [r.id for r in result.keep]
    fewer = [*stay, result.retire[0].id, *allocate({*single, *row}, len(result.retire) - 1)]
    assert not tag_fits(fewer, 40)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=300, unique=True), st.integers(0, 1000))
def test_batches(ids: list[int], userdata: int) -> None:
    """What goes is walked once, in order; without any one batch of it the group's tag fits, if it did with all."""
    members = tuple(region(n, 4 * n, 4 * n + 2) for n in sorted(ids))
    group = Group(Tag("vm", True, as_ranges(ids), "u" * userdata), members)
    walked = list(batches(members[1:], group))
    assert [r for batch in walked for r in batch] == list(members[1:])
    for batch in walked:
        gone = {r.id for r in batch}
        tag = replace(group.tag, members=as_ranges([n for n in ids if n not in gone]))
        assert tag.length() <= MAX_TAG_BYTES or len(batch) <= 16
    assert list(batches(members, None)) == [members]


def test_compacted_leaves_no_way() -> None:
    """Where others hold all ids but every second one higher up, no plan can list so many members."""
    keep = tuple(region(2 * n, 4 * n, 4 * n + 2) for n in range(400))
    plan = Plan(joined((r.start, r.end) for r in keep), keep, (), ())
    assert compacted(plan, {*range(800), *range(800, 3200, 2)}, 40) is None
    assert compacted(plan, {r.id for r in keep}, 40) is not None
