"""Charts are well-formed SVG with any input, and show the values that they are given."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.rates import Reading, rates
from supervisor.web.charts import draw, sparkline
from supervisor.web.charts.heatmap import level
from supervisor.web.charts.hour_chart import draw_hour, in_words
from supervisor.web.charts.panels import among_bins, rounded_up, steps
from supervisor.web.state.series import SPAN, Bucket, Interval, Series

T0 = 1_800_000_000.0
BOUNDS = (100_000, 1_000_000, 10_000_000)
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "\"'><script>alert(1)</script>&amp;]]>"


def parsed(markup: str) -> ET.Element:
    """Return a chart as a tree. Raises ParseError if it is not well-formed."""
    return ET.fromstring(markup)  # noqa: S314 - our own


def titles(tree: ET.Element) -> list[str]:
    """Return the tooltips."""
    return [element.text or "" for element in tree.iter(f"{SVG}title")]


def at(seconds: float, reads: int, writes: int = 0) -> Reading:
    """Return totals: reads that took 0.05 ms each, writes that took 5 ms."""
    bins = (reads, 0, writes, 0)
    return Reading(
        T0 + seconds,
        reads,
        writes,
        4096 * reads,
        512 * writes,
        50_000 * reads,
        5_000_000 * writes,
        BOUNDS,
        bins,
    )


def an_hour(bounds_ns: tuple[int, ...] = BOUNDS) -> Series:
    """Return 20 minutes with 10 reads and a write a second, without I/O in the last minute."""

    def reading(seconds: int, reads: int, writes: int) -> Reading:
        found = at(seconds, reads, writes)
        return found if bounds_ns else replace(found, bounds_ns=(), histogram=())

    series = Series(reading(2400, 0, 0))
    for i in range(1, 115):
        series.add(reading(2400 + 10 * i, 100 * i, 10 * i), T0 + 2390 + 10 * i)
    return series


def test_text_is_no_markup() -> None:
    """Names are escaped in titles, labels, addresses and descriptions."""
    link = draw.link(HOSTILE, [draw.title("x")])
    tree = parsed(
        draw.picture([draw.title(HOSTILE), draw.label(HOSTILE, 0, 0), link, draw.span(HOSTILE)], 10, HOSTILE)
    )
    assert titles(tree) == [HOSTILE, "x"]
    assert [element.text for name in ("text", "tspan") for element in tree.iter(f"{SVG}{name}")] == [
        HOSTILE
    ] * 2
    assert tree.get("aria-label") == HOSTILE
    assert [element.get("href") for element in tree.iter(f"{SVG}a")] == [HOSTILE]
    assert not list(tree.iter(f"{SVG}script"))


def test_no_inline_styles() -> None:
    """The page's policy forbids style attributes."""
    for markup in (draw_hour(an_hour(), T0 + SPAN), sparkline.of_rate([Bucket(1, 5), None])):
        assert all(element.get("style") is None for element in parsed(markup).iter())


def test_the_hour_has_a_column_for_each_interval() -> None:
    """Each interval has a tooltip with its figures. The time before the first reading is hatched."""
    tree = parsed(draw_hour(an_hour(), T0 + SPAN))
    assert len(titles(tree)) == 114
    assert titles(tree)[0] == (
        "08:40:00 UTC to 08:40:10 UTC\n10 reads/s, 40 KiB/s, mean 50 µs\n1.0 writes/s, 512 B/s, mean 5 ms\n"
        "under 100 µs: 100\n1 ms to 10 ms: 10"
    )
    covers = [rect for rect in tree.iter(f"{SVG}rect") if rect.get("class") == "unknown"]
    assert [float(str(rect.get("width")).rstrip("%")) for rect in covers] == pytest.approx(
        [100 * 2400 / 3600] * 4, abs=0.001
    )
    assert {rect.get("fill") for rect in covers} == {"url(#no-data)"}
    assert [pattern.get("id") for pattern in tree.iter(f"{SVG}pattern")] == ["no-data"]
    assert [element.text for element in tree.iter(f"{SVG}text")].count("no data") == 4
    assert "at most 11 I/Os a second" in str(tree.get("aria-label"))


def test_the_heat_map_has_a_cell_for_each_bin_that_had_io() -> None:
    """There are two such bins in each interval. The fuller one has the strongest shade."""
    tree = parsed(draw_hour(an_hour(), T0 + SPAN))
    shades = [
        str(rect.get("class")) for rect in tree.iter(f"{SVG}rect") if str(rect.get("class")).startswith("h")
    ]
    assert sorted(set(shades)) == ["h3", "h5"]
    assert [shades.count(shade) for shade in ("h3", "h5")] == [114, 114]


def test_without_a_histogram_there_is_no_heat_map() -> None:
    """An adopted group may have no histogram."""
    tree = parsed(draw_hour(an_hour(()), T0 + SPAN))
    assert not [rect for rect in tree.iter(f"{SVG}rect") if str(rect.get("class")).startswith("h")]
    assert len(titles(tree)) == 114


def test_before_the_first_reading() -> None:
    """The time is hatched, with a label if there is room."""
    series = Series(at(0, 0))
    series.add(at(600, 5), T0)
    half, most = (draw_hour(series, T0 + SPAN * part) for part in (0.5, 0.9))
    assert "no-data" in half
    assert "no data" in half
    assert "no-data" in most
    assert "no data" not in most


def test_an_hour_without_io() -> None:
    """The chart's description is "no I/O"."""
    assert parsed(draw_hour(Series(at(0, 0)), T0 + SPAN)).get("aria-label") == "The last hour: no I/O"


def test_sparklines() -> None:
    """The description has the maximum. Unknown buckets, and buckets without a latency, are gaps in the line."""
    found = [None, Bucket(5, 1e6), Bucket(10, None), Bucket(0, 2e6)]
    rate, latency = parsed(sparkline.of_rate(found)), parsed(sparkline.of_latency(found))
    assert rate.get("aria-label") == "I/Os a second in the last hour, at most 10"
    assert latency.get("aria-label") == "mean latency in the last hour, at most 2 ms"
    assert len(list(rate.iter(f"{SVG}polyline"))) == 1
    assert len(list(latency.iter(f"{SVG}polyline"))) == 2
    assert parsed(sparkline.of_rate([Bucket(0, None)])).get("aria-label") == "no I/O in the last hour"
    assert not list(parsed(sparkline.of_rate([None, None])).iter(f"{SVG}polyline"))


def test_heat_levels() -> None:
    """The fullest cell has the highest level, a quarter of it one level less, and any I/O at least the lowest."""
    assert [level(value, 1000) for value in (1000, 500, 499, 124, 31, 7, 0.001)] == [5, 5, 4, 3, 2, 1, 1]


def test_heights_of_latencies() -> None:
    """A latency is interpolated in the row of its bin. Above all bounds it is in the middle of the last row."""
    for latency, height in ((0, 0), (50_000, 0.5), (100_000, 1), (5_500_000, 2.5), (float("inf"), 3.5)):
        assert among_bins(latency, BOUNDS) == pytest.approx(height / 4)


def test_pauses_interrupt_lines() -> None:
    """Adjacent intervals are one line, others are not. A line before the hour is cut off at its start."""
    found = rates(at(0, 0), at(10, 5))
    assert found is not None
    spans = ((-5, 10), (10.2, 20), (60, 70))
    values = [(Interval(T0 + since, T0 + until, found), 1.0) for since, until in spans]
    assert [len(line) for line in steps(values, T0)] == [4, 2]
    assert steps(values, T0)[0][0] == (0, 1.0)


@given(st.floats(0, 1e15, allow_subnormal=False), st.sampled_from([10, 1024]))
def test_scales_have_round_ends(value: float, base: int) -> None:
    """The end of a scale is not below its maximum value, and not far above."""
    most = rounded_up(value, base)
    assert most >= value * 0.999_99
    assert most <= max(1.0, value * 2.01)


def test_an_interval_in_words() -> None:
    """Without writes there is no write latency."""
    found = rates(at(0, 0), at(10, 5))
    assert found is not None
    assert in_words(Interval(T0, T0 + 10, found)).splitlines()[2] == "0 writes/s, 0 B/s"
