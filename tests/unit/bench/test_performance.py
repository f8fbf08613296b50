"""docs/PERFORMANCE.md tells what is in docs/performance.json."""

from __future__ import annotations

import re

import pytest
from builders.roff import section

from bench.hosts import BYTES, counted
from bench.plots import plots
from bench.registry import MEASUREMENTS
from bench.results import load
from bench.table import markdown, number
from tests.unit.documents.test_documents import ROOT, code, rows

RUN = load(ROOT / "docs/performance.json")
DOCUMENT = (ROOT / "docs/PERFORMANCE.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_run() -> None:
    """The document's table holds all of the run's rows and no others."""
    assert markdown(RUN.rows) in section(DOCUMENT, "## The table")


def test_how_it_was_made() -> None:
    """The document names what the run's JSON says of machine, kernel, command and peer; a quick run is none."""
    told = section(DOCUMENT, "## How it was made")
    made = RUN.made
    for fact in (
        made.at[:10],
        made.kernel,
        made.machine,
        made.command,
        str(made.memory_mib),
        made.peer or "",
    ):
        assert fact in told, fact
    assert f"CPUs: {made.cpus}" in told
    assert not made.quick


def test_the_plots_are_those_of_the_run() -> None:
    """docs/ has the run's plots and no others, and the document shows each."""
    drawn = plots(RUN)
    assert {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.svg")} == drawn
    told = section(DOCUMENT, "## How cost grows")
    assert re.findall(r"!\[[^]]+\]\(([^)]+)\)", told) == list(drawn)


def test_what_prometheus_takes() -> None:
    """The table of hosts is what the counted series come to."""
    series = counted(RUN)
    assert series is not None
    least, most = BYTES
    told = list(rows(section(DOCUMENT, "## How cost grows")))
    assert told == [
        [
            f"{hosts:,}",
            number(series.of(hosts)),
            number(series.samples(hosts)),
            f"{number(series.stored(hosts, least) / 1e9)} to {number(series.stored(hosts, most) / 1e9)} GB",
        ]
        for hosts in (1, 10, 100, 1_000)
    ]


def test_what_missed_its_goal_is_told() -> None:
    """Each row that missed its goal is named in the section on what is missed, and none that reached it."""
    told = section(DOCUMENT, "## What is missed")
    for row in RUN.rows:
        assert (f"**{row.name}**" in told) == (row.met() is False), row.name


def test_every_measurement_is_explained() -> None:
    """The document has a row for every measurement that there is."""
    told = section(DOCUMENT, "## What is measured")
    named = [name for row in rows(told) for name in code(row[0])]
    assert named == [measurement.name for measurement in MEASUREMENTS]


def test_what_regions_cost_is_told_to_operators() -> None:
    """docs/OPERATION.md computes rightly, with what a region cost an I/O in the run, within a quarter."""
    told = section((ROOT / "docs/OPERATION.md").read_text(encoding="utf-8"), "## Choosing limits")
    figure = re.search(r"some (\d+) ns a region", told)
    assert figure is not None
    (row,) = [row for row in RUN.rows if row.name == "the same: for each of 1,000 regions"]
    assert int(figure[1]) == pytest.approx(max(row.filemapd), rel=0.25)
    for regions, added, fast, slow in rows(told):
        ns = int(regions.replace(",", "")) * int(figure[1])
        assert (added, fast, slow) == (f"{ns / 1e3:g} µs", f"{ns / 80e3:.0%}", f"{ns / 5e6:.1%}")
