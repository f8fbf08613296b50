"""The table of a run: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from bench.noise import median
from bench.results import Goal, Row, Unit

_HEADS: Final = ("WHAT", "PEER", "OURS", "FLOOR", "AT MOST", "MET")
_LEFT: Final = frozenset({"WHAT", "AT MOST", "MET"})
_WORDS: Final = {True: "yes", False: "no", None: "-"}
_STYLES: Final = {"yes": "green", "no": "bold red"}


def number(value: float) -> str:
    """Return a figure with three significant digits and no exponent."""
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004 - three digits stand before the point
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.4f}"  # noqa: PLR2004 - else it were 1e-05


def figure(samples: Sequence[float], unit: Unit) -> str:
    """Return the samples' median with its unit, "-" without samples."""
    if not samples:
        return "-"
    return number(median(samples)) + ("" if unit == "count" else f" {unit}")


def goal_text(goal: Goal) -> str:
    """Return a goal's limit as text: in the row's unit, or relative to its reference."""
    if goal.of is None:
        return number(goal.most + goal.plus)
    plus = f" + {number(goal.plus)}" if goal.plus else ""
    part = f"1/{1 / goal.most:.0f}" if goal.most < 1 else number(goal.most)
    return f"{part} {goal.of}{plus}"


def cells(rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the cells, by _HEADS, of each row that is no point of a plot. A row that belongs to the one above shows
    only the end of its name."""
    above = ""
    for row in (row for row in rows if not row.series):
        name = row.name.removeprefix(f"{above}: ")
        above = row.name if name == row.name else above
        yield (
            ("" if name == row.name else "- ") + name + (f" ({row.note})" if row.note else ""),
            *(figure(samples, row.unit) for samples in (row.peer, row.filemapd, row.floor)),
            ", ".join(map(goal_text, row.goals)) or "-",
            _WORDS[row.met()],
        )


def rich_table(rows: Sequence[Row]) -> Table:
    """Return the table for a terminal of 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in _HEADS:
        table.add_column(head, justify="left" if head in _LEFT else "right", no_wrap=head != "WHAT")
    for row in cells(rows):
        table.add_row(*row[:-1], Text(row[-1], _STYLES.get(row[-1], "")))
    return table


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    heads = tuple(head.lower() for head in _HEADS)
    lines = (heads, tuple("---" if head in _LEFT else "--:" for head in _HEADS), *cells(rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
