"""Which ids are reused and which regions recreated for a tag to fit, against the kernel's way of assigning
ids."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dmstats.compaction import batches, compacted, expected_ids, tag_fits, tag_surely_fits
from dmstats.group import MAX_TAG_BYTES, Group, Tag, as_ranges, members_text
from dmstats.plan import Plan, decide
from dmstats.ranges import Range, joined
from tests.unit.dmstats.test_plan import UNLIMITED, covered, region, sectors


def allocate(used: Collection[int], count: int) -> list[int]:
    """Return the ids that the kernel assigns, one region after the other."""
    taken = set(used)
    given_ids = []
    for _ in range(count):
        number = next(n for n in range(len(taken) + 1) if n not in taken)
        taken.add(number)
        given_ids.append(number)
    return given_ids


@given(st.sets(st.integers(0, 50)), st.integers(0, 40))
def test_expected_ids(used: set[int], count: int) -> None:
    """The expected ids are those that the kernel assigns: the lowest free ones, one by one."""
    assert expected_ids(used, count) == allocate(used, count)
    assert expected_ids(frozenset(used), count) == expected_ids(sorted(used), count)


def test_tag_fits() -> None:
    """A list fits up to exactly the length that libdm can edit."""
    ids = range(0, 100, 2)
    length = len(members_text(as_ranges(ids)))
    assert tag_fits(ids, MAX_TAG_BYTES - length)
    assert not tag_fits(ids, MAX_TAG_BYTES - length + 1)


@st.composite
def scattered(draw: st.DrawFn) -> tuple[Plan, set[int], int]:
    """Draw a plan with scattered retained regions, ids of others, and the tag's other bytes."""
    count = draw(st.integers(0, 300))
    density = draw(st.floats(0, 1))
    rng = random.Random(draw(st.integers(0, 2**32)))
    ids = rng.sample(range(1200), count)
    others = {n for n in range(1200) if rng.random() < density} - set(ids)
    going = set(ids[: count // draw(st.integers(2, 6))])
    keep = tuple(region(n, 4 * n, 4 * n + 2) for n in sorted(set(ids) - going))
    # Some retired regions overlap created ones.
    create = [Range(4 * n, 4 * n + 1) for n in going if rng.random() < density / 4]
    create += [Range(10_000 + 4 * i, 10_002 + 4 * i) for i in range(draw(st.integers(0, 50)))]
    retire = tuple(region(n, 4 * n, 4 * n + 2) for n in sorted(going))
    target = joined([*((r.start, r.end) for r in keep), *create])
    return Plan(target, keep, tuple(sorted(create)), retire), others, draw(st.integers(20, 500))


@given(scattered())
def test_compacted_fits(drawn: tuple[Plan, set[int], int]) -> None:
    """The tag of a compacted plan fits once the kernel has assigned its ids, with any ids of others. The
    plan still covers the same, and recreated regions are retired. Regions retired first overlap nothing
    covered, and none is the leader."""
    plan, others, overhead = drawn
    all_ids = {r.id for r in [*plan.keep, *plan.retire]}
    used = others | all_ids
    leader = min(all_ids, default=None)
    result = compacted(plan, used, overhead, leader)
    if result is None:
        # No plan is possible, even with all regions recreated.
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
def test_surely_fits(drawn: tuple[Plan, set[int], int]) -> None:
    """A tag that surely fits, with any ids of others, fits with the ids that the kernel assigns."""
    plan, others, overhead = drawn
    used = others | {r.id for r in [*plan.keep, *plan.retire]}
    ids = [*(r.id for r in plan.keep), *allocate(used, len(plan.create))]
    assert tag_fits(ids, overhead) or not tag_surely_fits(plan, len(used), overhead)


def test_freed_ids_are_reused() -> None:
    """When a tenth of many scattered regions is replaced, new ones get the freed ids and no others are
    recreated; only the leader's id stays free."""
    regions = [region(n, 4 * n, 4 * n + 2) for n in range(10_000)]
    going = set(random.Random(1).sample(range(10_000), 1_000)) | {0}
    ranges = [Range(r.start, r.end) for r in regions if r.id not in going]
    ranges += [Range(50_000 + 4 * n, 50_002 + 4 * n) for n in range(len(going))]
    plan = decide(ranges, regions, most=UNLIMITED, members=range(10_000))
    result = compacted(plan, range(10_000), 40, leader=0)
    assert result is not None
    assert (result.keep, result.create, result.retire) == (plan.keep, plan.create, plan.retire)
    assert {r.id for r in result.first} == going - {0}


def test_few_are_recreated() -> None:
    """When more is retired than created, regions without neighbours are recreated, no more than the tag
    requires: each saves two entries, its own and the hole that it fills."""
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
    """Each retired region is in one batch, in order. Without any one batch the group's tag fits, if it did
    with all."""
    members = tuple(region(n, 4 * n, 4 * n + 2) for n in sorted(ids))
    group = Group(Tag("vm", True, as_ranges(ids), "u" * userdata), members)
    walked = list(batches(members[1:], group))
    assert [r for batch in walked for r in batch] == list(members[1:])
    for batch in walked:
        gone = {r.id for r in batch}
        tag = replace(group.tag, members=as_ranges([n for n in ids if n not in gone]))
        assert tag.length() <= MAX_TAG_BYTES or len(batch) <= 16
    assert list(batches(members, None)) == [members]


def test_compacted_is_impossible() -> None:
    """When others have all ids except every second higher one, no plan can list that many members."""
    keep = tuple(region(2 * n, 4 * n, 4 * n + 2) for n in range(400))
    plan = Plan(joined((r.start, r.end) for r in keep), keep, (), ())
    assert compacted(plan, {*range(800), *range(800, 3200, 2)}, 40) is None
    assert compacted(plan, {r.id for r in keep}, 40) is not None
