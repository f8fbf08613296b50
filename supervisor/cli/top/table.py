"""The table of `filemapd top`: formats of its cells, header and footer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import OverflowMethod
from rich.table import Table
from rich.text import Text

from supervisor.cli.cells import size, text
from supervisor.cli.top.activity import P99, Row
from supervisor.rates import Rates, least_ios
from supervisor.text.times import seconds_of

_FEW: Final = 10
_MANY: Final = 100_000
_THOUSAND: Final = 1000
_MINUTE: Final = 60


def iops(value: float) -> str:
    """Return a rate in five characters. Below ten it has a decimal, as 0.3 a second is not idle."""
    if 0 < value < _FEW:
        return f"{max(value, 0.1):.1f}"
    return f"{value:.0f}" if value < _MANY else f"{value / _THOUSAND:.0f}k"


def latency(ns: float | None) -> str:
    """Return a latency in the unit that gives one to three digits before the point."""
    if ns is None:
        return "-"
    value, unit = float(ns), "ns"
    for larger in ("us", "ms", "s"):
        if value < _THOUSAND - 0.5:
            break
        value, unit = value / _THOUSAND, larger
    return f"{value:.1f}{unit}" if value < _FEW and unit != "ns" else f"{value:.0f}{unit}"


def p99(done: Rates) -> str:
    """Return the 99th percentile; "few" if there are too few I/Os for one.

    Below the first bound and above the last, only the bound is known.
    """
    found, bounds = done.quantile_ns(P99), done.bounds_ns
    if found is None:
        return "few" if 0 < sum(done.bins) < least_ios(P99) else "-"
    if math.isinf(found):
        return f">{latency(bounds[-1])}"
    return f"<{latency(bounds[0])}" if found <= bounds[0] else latency(found)


def share(value: float | None) -> str:
    """Return a share (0 to 1) in percent."""
    return "-" if value is None else f"{value * 100:.0f}%"


def age(sampled_at: str | None, now: float) -> str:
    """Return the age of a sample at `now` (seconds since the epoch)."""
    if sampled_at is None:
        return "-"
    seconds = max(0.0, now - seconds_of(sampled_at))
    if seconds < _FEW:
        return f"{seconds:.1f}s"
    return f"{seconds:.0f}s" if seconds < 2 * _MINUTE else f"{seconds / _MINUTE:.0f}m"


def machine(vm: Mapping[str, Any] | None) -> str:
    """Return a VM's name, the number of other VMs with the file, and the role if it isn't `disk`."""
    if vm is None:
        return "-"
    others = f" +{vm['others']}" if vm["others"] else ""
    return f"{vm['name']}{others}" if vm["role"] == "disk" else f"{vm['name']}{others} ({vm['role']})"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures. `sort` is the order that marks it; `width` is that of its longest cell."""

    head: str
    sort: str
    width: int
    cell: Callable[[Rates], str]


_FIGURES: Final = (
    Column("IOPS", "iops", 5, lambda done: iops(done.ios_per_s)),
    Column("READ/S", "bytes", 7, lambda done: size(done.read_bytes_per_s)),
    Column("WRITE/S", "bytes", 7, lambda done: size(done.write_bytes_per_s)),
    Column("AVG", "latency", 5, lambda done: latency(done.latency_ns)),
    Column("P99", "p99", 6, p99),
)
# Columns of text, with the least width of the terminal that has room for them.
_WORDS: Final[Mapping[str, tuple[int, Callable[[Row], str]]]] = {
    "VM": (100, lambda row: machine(row.vm)),
    "DEVICE": (120, lambda row: row.device or "-"),
}


def top_table(rows: Sequence[Row], sort: str, *, width: int, now: float, cut: bool) -> Table:
    """Return a table with a line for each of `rows`, in their order, for a terminal of `width` columns.

    With `cut`, long names are cut off at their column's width, else folded. `now` is in seconds since the epoch.
    """
    # Widths are fixed: a live table whose columns shift is unreadable.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold", expand=True)
    overflow: OverflowMethod = "ellipsis" if cut else "fold"
    words = {head: cell for head, (least, cell) in _WORDS.items() if width >= least}
    table.add_column(_head("NAME", sort == "name"), overflow=overflow, no_wrap=cut, ratio=2)
    for head in words:
        table.add_column(head, overflow=overflow, no_wrap=cut, ratio=1)
    for column in _FIGURES:
        table.add_column(_head(column.head, sort == column.sort), justify="right", width=column.width)
    table.add_column(_head("SHARE", sort == "share"), justify="right", width=5)
    table.add_column("AGE", justify="right", width=4)
    for row in rows:
        done = row.rates
        cells = [cell(row) for cell in words.values()]
        cells += ["-" if done is None else column.cell(done) for column in _FIGURES]
        cells += [share(row.share), age(row.sampled_at, now)]
        table.add_row(text(row.name), *map(text, cells), style="" if row.ios else "dim")
    return table


def _head(name: str, sorted_by: bool) -> Text:
    return Text(name, "reverse" if sorted_by else "")


def header(rows: Sequence[Row], sort: str, *, version: str, device: str | None) -> Text:
    """Return the line above the table."""
    busy = sum(row.ios > 0 for row in rows)
    where = f" on {device}" if device is not None else ""
    return text(
        f"filemapd {version}: {len(rows)} file{'' if len(rows) == 1 else 's'}{where}, {busy} with I/O, by {sort}"
    )


def footer(rows: Sequence[Row], shown: int) -> Text:
    """Return the line below the table: the interval of the figures, and the number of files not shown."""
    windows = [row.rates.seconds for row in rows if row.rates is not None]
    line = "no figures yet: they need two samples"
    if windows:
        low, high = (f"{seconds:.1f}" for seconds in (min(windows), max(windows)))
        line = f"over {low if low == high else f'{low} to {high}'}s; few: under {least_ios(P99)} I/Os, no p99"
    hidden = len(rows) - shown
    return text(f"{line}; {hidden} more file{'' if hidden == 1 else 's'}" if hidden else line)
