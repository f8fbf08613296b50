"""A device's budget of regions, and each file's part of it: pure."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from supervisor.fleet.budget import UNMEASURED, Activity, Demand, grants, measured_budget

DEMANDS = st.lists(
    st.builds(
        Demand,
        wanted=st.integers(1, 300),
        granted=st.integers(1, 300),
        regions=st.integers(0, 300),
        rate=st.sampled_from([0.0, 0.5, 10.0, 5000.0]),
    ),
    min_size=1,
    max_size=8,
)


def applied(demands: list[Demand], granted: list[int]) -> list[Demand]:
    """Return the demands once the workers have what was granted."""
    return [
        replace(one, granted=grant, regions=min(one.wanted, grant))
        for one, grant in zip(demands, granted, strict=True)
    ]


def settled(budget: int, demands: list[Demand], increase: int = 1000) -> tuple[list[Demand], int]:
    """Return the demands once no grant changes any more, and after how many rounds."""
    for number in range(400):
        after = applied(demands, grants(budget, demands, increase=increase))
        if after == demands:
            return demands, number
        demands = after
    raise AssertionError("the grants change for ever")


@given(st.integers(-5, 900), DEMANDS, st.integers(1, 1000))
def test_any_demands(budget: int, demands: list[Demand], increase: int) -> None:
    """Grants settle. Together they are within the budget, or one each; all are whole where that fits."""
    after, _ = settled(budget, demands, increase)
    assert all(one.granted >= 1 for one in after)
    assert sum(min(one.granted, one.wanted) for one in after) <= max(budget, len(after))
    if sum(one.wanted for one in after) <= budget:
        assert all(one.granted >= one.wanted for one in after)


@given(st.integers(8, 900), DEMANDS, st.integers(1, 50))
def test_never_over_the_budget(budget: int, demands: list[Demand], increase: int) -> None:
    """While grants move, regions are within the budget as soon as the shrinking ones are, and no more than
    `increase` are created at once."""
    demands = applied(demands, grants(budget, demands, increase=increase))
    for _ in range(30):
        before = demands
        demands = applied(demands, grants(budget, demands, increase=increase))
        assert sum(one.regions for one in demands) <= max(budget, len(demands))
        created = [max(0, new.regions - old.regions) for old, new in zip(before, demands, strict=True)]
        assert sum(created) <= increase + len(demands)


def test_one_busy_image_among_idle_ones() -> None:
    """It is covered whole, in few rounds; the others share the rest. It stays so while its rate varies."""
    idle = Demand(wanted=200, granted=15, regions=15, rate=0.0)
    demands = [replace(idle, rate=400.0), *[idle] * 19]
    after, rounds = settled(300, demands, increase=20)
    assert after[0].regions == 200
    assert {one.regions for one in after[1:]} <= {5, 6}
    assert rounds <= 15
    again, rounds = settled(300, [replace(after[0], rate=250.0), *after[1:]])
    assert (again[0].regions, rounds) == (200, 0)
    again, rounds = settled(300, [replace(after[0], rate=0.0), *after[1:]])
    assert (again[0].regions, rounds) == (200, 0), "nothing is gained by a change"


def test_two_busy_images() -> None:
    """They share what is there by their rates; a small change of the rates changes nothing."""
    one = Demand(wanted=200, granted=50, regions=50, rate=100.0)
    after, _ = settled(202, [one, one])
    assert [each.granted for each in after] == [101, 101]
    assert settled(202, [replace(after[0], rate=120.0), after[1]])[1] == 0
    after, _ = settled(202, [replace(after[0], rate=900.0), after[1]])
    assert (after[0].granted, after[1].granted) == (181, 21)


def test_measured_budget() -> None:
    """It is the slowdown's share of the latency, and of a CPU's time; near the present one nothing changes."""
    of_80_us = Activity(ios=100_000, io_ns=8_000_000_000, seconds=60)
    assert measured_budget(of_80_us, 0.05, 100) == 333
    assert measured_budget(of_80_us, 0.05, UNMEASURED) == UNMEASURED
    of_2_ms = Activity(ios=10_000, io_ns=20_000_000_000, seconds=60)
    assert measured_budget(of_2_ms, 0.05, UNMEASURED) == 8_333
    fast = Activity(ios=6_000_000, io_ns=480_000_000_000, seconds=60)
    assert measured_budget(fast, 0.05, UNMEASURED) == 64
    assert measured_budget(Activity(999, 10**9, 60), 0.05, 123) == 123
