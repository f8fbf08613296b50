"""docs/PERFORMANCE.md agrees with docs/performance.json."""

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
    """The document's table has all of the run's rows and no others."""
    assert markdown(RUN.rows) in section(DOCUMENT, "## The table")


def test_how_it_was_made() -> None:
    """The document has the run's machine, kernel, command and peer; it isn't a quick run."""
    part = section(DOCUMENT, "## How it was made")
    made = RUN.made
    for fact in (
        made.at[:10],
        made.kernel,
        made.machine,
        made.command,
        str(made.memory_mib),
        made.peer or "",
    ):
        assert fact in part, fact
    assert f"CPUs: {made.cpus}" in part
    assert not made.quick


def test_the_plots_are_those_of_the_run() -> None:
    """docs/ has the run's plots and no others, and the document shows each."""
    drawn = plots(RUN)
    assert {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.svg")} == drawn
    part = section(DOCUMENT, "## How cost grows")
    assert re.findall(r"!\[[^]]+\]\(([^)]+)\)", part) == list(drawn)


def test_what_prometheus_takes() -> None:
    """The table of hosts is computed from the counted series."""
    series = counted(RUN)
    assert series is not None
    least, most = BYTES
    table = list(rows(section(DOCUMENT, "## How cost grows")))
    assert table == [
        [
            f"{hosts:,}",
            number(series.of(hosts)),
            number(series.samples(hosts)),
            f"{number(series.stored(hosts, least) / 1e9)} to {number(series.stored(hosts, most) / 1e9)} GB",
        ]
        for hosts in (1, 10, 100, 1_000)
    ]


def test_missed_goals_are_named() -> None:
    """The section on missed goals names each row that missed its goal, and none that met it."""
    part = section(DOCUMENT, "## What is missed")
    for row in RUN.rows:
        assert (f"**{row.name}**" in part) == (row.met() is False), row.name


def test_every_measurement_is_explained() -> None:
    """The document has a row for every measurement."""
    part = section(DOCUMENT, "## What is measured")
    named = [name for row in rows(part) for name in code(row[0])]
    assert named == [measurement.name for measurement in MEASUREMENTS]


def test_operators_get_the_cost_of_regions() -> None:
    """docs/OPERATION.md computes with the run's cost of a region per I/O, within a quarter."""
    part = section((ROOT / "docs/OPERATION.md").read_text(encoding="utf-8"), "## Choosing limits")
    figure = re.search(r"some (\d+) ns a region", part)
    assert figure is not None
    (row,) = [row for row in RUN.rows if row.name == "the same: for each of 1,000 regions"]
    assert int(figure[1]) == pytest.approx(max(row.filemapd), rel=0.25)
    for regions, added, fast, slow in rows(part):
        ns = int(regions.replace(",", "")) * int(figure[1])
        assert (added, fast, slow) == (f"{ns / 1e3:g} µs", f"{ns / 80e3:.0%}", f"{ns / 5e6:.1%}")
