"""The table of `filemapd top`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from supervisor.cli.top.activity import Row
from supervisor.cli.top.table import age, footer, header, iops, latency, machine, p99, share, top_table
from supervisor.rates import Rates

NOW = 1_800_000_000.0
RATES: dict[str, Any] = {
    "seconds": 3.0,
    "reads_per_s": 100.0,
    "writes_per_s": 20.0,
    "read_bytes_per_s": 409_600.0,
    "write_bytes_per_s": 1_048_576.0,
    "read_latency_ns": 100_000.0,
    "write_latency_ns": 5_000_000.0,
    "latency_ns": 916_667.0,
    "bounds_ns": (100_000, 1_000_000),
    "bins": (0, 355, 5),
}


def row(name: str = "db01.img", vm: dict[str, Any] | None = None, **changes: Any) -> Row:
    """Return a row whose rates have these changes."""
    sampled = "2027-01-15T07:59:58.500Z"
    return Row(name, f"/{name}", "vg-lv", "RUNNING", vm, sampled, Rates(**(RATES | changes)), 0.42)


UNKNOWN = Row("new.img", "/new.img", None, "STARTING", None, None, None, None)


def printed(what: Any, width: int = 80, *, terminal: bool = False) -> list[str]:
    """Return the lines on a console of this width."""
    out = io.StringIO()
    Console(
        file=out, width=width, force_terminal=terminal, color_system="standard" if terminal else None
    ).print(what)
    return out.getvalue().splitlines()


def table(*rows: Row, sort: str = "iops", width: int = 80, cut: bool = True) -> Table:
    """Return the table of rows."""
    return top_table(rows, sort, width=width, now=NOW, cut=cut)


def test_one_line_for_each_file() -> None:
    """All columns in order; unknown values are dashes."""
    head, first, second = printed(table(row(), UNKNOWN))
    assert head.split() == ["NAME", "IOPS", "READ/S", "WRITE/S", "AVG", "P99", "SHARE", "AGE"]
    assert first.split() == ["db01.img", "120", "400KiB", "1.0MiB", "917us", ">1.0ms", "42%", "1.5s"]
    assert second.split() == ["new.img", *"-------"]


def test_columns_do_not_move() -> None:
    """Columns have the same place for all figures: a table that shifts is unreadable."""
    heads = {printed(table(r))[0] for r in (row(), UNKNOWN, row("x" * 200, reads_per_s=1e9, latency_ns=1e12))}
    assert len(heads) == 1


@pytest.mark.parametrize("width", [60, 80, 99, 100, 119, 120, 200])
def test_lines_fit_the_terminal(width: int) -> None:
    """No line is longer than the terminal. With `cut`, each file has one line."""
    vm = {"name": "v" * 300, "uuid": "", "role": "backing", "others": 0}
    lines = printed(table(row("n" * 300, vm), row(), width=width), width)
    assert len(lines) == 3
    assert all(cell_len(line) <= width for line in lines)
    assert lines[1].split()[-2:] == ["42%", "1.5s"]


def test_wide_terminals_have_more_columns() -> None:
    """VM needs 100 columns, DEVICE needs 120."""
    vm = {"name": "web", "uuid": "", "role": "disk", "others": 0}
    assert "VM" not in printed(table(row(vm=vm), width=99), 99)[0].split()
    assert printed(table(row(vm=vm), width=100), 100)[1].split()[:2] == ["db01.img", "web"]
    assert printed(table(row(vm=vm), width=120), 120)[1].split()[:3] == ["db01.img", "web", "vg-lv"]


def test_names_are_folded_without_cut() -> None:
    """With --once a name is folded, never cut: `filemapd restart` takes it."""
    name = "".join(f"part{i:02}." for i in range(30))
    lines = printed(table(row(name), cut=False))
    assert "".join(line.split(" ")[0] for line in lines[1:]) == name


def test_the_sorted_column_is_marked() -> None:
    """It is in reverse video, so visible without colours. Output to a pipe has no attributes."""
    assert "\x1b[1;7m  AVG\x1b[0m" in printed(table(row(), sort="latency"), terminal=True)[0]
    assert "\x1b" not in "".join(printed(table(row(), sort="latency")))


@given(
    st.text(st.characters(categories=["Cc", "Cf", "Cs", "Co", "L", "P", "S", "Z"]), min_size=1, max_size=60)
)
def test_names_are_escaped(name: str) -> None:
    """Names of files and VMs are printed without escape sequences, line breaks and rich's markup."""
    vm = {"name": name, "uuid": "", "role": "disk", "others": 0}
    what = table(row(name, vm), row(f"[bold red]{name}[/]"), width=120)
    lines = printed(what, 120)
    assert len(lines) == 3
    assert all(character.isprintable() for line in lines for character in line)


def test_markup_in_names_is_text() -> None:
    """A name that looks like rich's markup is shown unchanged."""
    assert printed(table(row("[bold]x[/bold].img")))[1].startswith("[bold]x[/bold].img ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.001, "0.1"),
        (0.33, "0.3"),
        (9.96, "10.0"),
        (10, "10"),
        (99_999, "99999"),
        (123_456, "123k"),
    ],
)
def test_iops(value: float, expected: str) -> None:
    """A low rate isn't shown as 0. A rate has at most five characters."""
    assert iops(value) == expected


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (None, "-"),
        (0, "0ns"),
        (850, "850ns"),
        (999.6, "1.0us"),
        (85_300, "85us"),
        (1_200_000, "1.2ms"),
        (320e6, "320ms"),
        (2_100e6, "2.1s"),
        (1e12, "1000s"),
    ],
)
def test_latency(ns: float | None, expected: str) -> None:
    """The unit gives up to three digits. Units are those of the configuration, in ASCII."""
    assert latency(ns) == expected


@pytest.mark.parametrize(
    ("bins", "expected"),
    [
        ((0, 0, 0), "-"),
        ((), "-"),
        ((99, 0, 0), "few"),
        ((100, 0, 0), "<100us"),
        ((50, 50, 0), "982us"),
        ((98, 0, 2), ">1.0ms"),
    ],
)
def test_p99(bins: tuple[int, ...], expected: str) -> None:
    """Too few I/Os and none differ. Below the first bound and above the last, the bound is shown."""
    assert p99(Rates(**(RATES | {"bins": bins}))) == expected


def test_share() -> None:
    """Shares are in percent."""
    assert [share(value) for value in (None, 0.0, 0.006, 0.42, 1.0)] == ["-", "0%", "1%", "42%", "100%"]


@pytest.mark.parametrize(
    ("sampled", "expected"),
    [
        (None, "-"),
        ("2027-01-15T07:59:59.600Z", "0.4s"),
        ("2027-01-15T08:00:00.100Z", "0.0s"),
        ("2027-01-15T07:59:46.000Z", "14s"),
        ("2027-01-15T07:50:00.000Z", "10m"),
    ],
)
def test_age(sampled: str | None, expected: str) -> None:
    """The age of a sample. With a clock that is slightly ahead, it is 0."""
    assert age(sampled, NOW) == expected


def test_machine() -> None:
    """A backing file is marked, as is a file that other VMs have too."""
    assert machine(None) == "-"
    assert machine({"name": "web", "uuid": "", "role": "disk", "others": 0}) == "web"
    assert machine({"name": "web", "uuid": "", "role": "backing", "others": 0}) == "web (backing)"
    assert machine({"name": "web", "uuid": "", "role": "backing", "others": 49}) == "web +49 (backing)"


def test_header() -> None:
    """The number of files, the number with I/O, the device and the order."""
    rows = [row(), row(reads_per_s=0.0, writes_per_s=0.0), UNKNOWN]
    assert printed(header(rows, "share", version="0.1.0", device=None)) == [
        "filemapd 0.1.0: 3 files, 1 with I/O, by share"
    ]
    assert printed(header(rows[:1], "iops", version="0.1.0", device="vg-lv")) == [
        "filemapd 0.1.0: 1 file on vg-lv, 1 with I/O, by iops"
    ]


def test_footer() -> None:
    """The interval of the figures, and the number of files that are not shown."""
    assert printed(footer([UNKNOWN], 1)) == ["no figures yet: they need two samples"]
    assert printed(footer([row()], 1)) == ["over 3.0s; few: under 100 I/Os, no p99"]
    assert printed(footer([row(), row(seconds=10.0), UNKNOWN], 2)) == [
        "over 3.0 to 10.0s; few: under 100 I/Os, no p99; 1 more file"
    ]
