"""What `filemapd map` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.cli.cells import many, standard_output, text

_UNITS: Final = {40: "TiB", 30: "GiB", 20: "MiB", 10: "KiB"}


def print_map(answer: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the answer of `filemapd map` for a person."""
    out = console or standard_output()
    out.print(_head(answer), soft_wrap=True)
    if answer["pieces"]:
        out.print(_table(answer))
    for group in answer["groups"]:
        out.print(_group(group), soft_wrap=True)
    if answer["uncovered_bytes"]:
        out.print(
            Text(f"uncovered: {exact(answer['uncovered_bytes'])} that no region counts", style="yellow")
        )


def exact(value: int) -> str:
    """Return a number of bytes in the largest unit of which it is a multiple."""
    for power, unit in _UNITS.items():
        if value and value % (1 << power) == 0:
            return f"{value >> power}{unit}"
    return f"{value}B"


def _head(answer: Mapping[str, Any]) -> Text:
    extents = many(answer["extents"], "extent")
    where = f"inode {answer['inode']} on {answer['device']} ({answer['number']})"
    return text(f"{answer['path']}: {exact(answer['size'])} in {extents}, {where}")


def _table(answer: Mapping[str, Any]) -> Table:
    """Return a line for each piece, and one more for each further region on it."""
    group_of = {region["id"]: region["group_id"] for region in answer["regions"]}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for number in ("OFFSET", "LENGTH", "SECTOR", "REGION", "GROUP"):
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("FLAGS")
    for piece in answer["pieces"]:
        sector, flags = piece["sector"], list(piece["flags"])
        uncovered = sector is not None and not piece["regions"]
        where = [exact(piece["offset"]), exact(piece["length"]), "-" if sector is None else str(sector)]
        words = ", ".join(flags + ["uncovered"] * uncovered)
        for number in piece["regions"] or [None]:
            group = group_of.get(number)
            table.add_row(
                *where,
                "-" if number is None else str(number),
                "-" if group is None else str(group),
                Text(words, style="yellow" if uncovered else "dim"),
            )
            where, words = ["", "", ""], ""
    return table


def _group(group: Mapping[str, Any]) -> Text:
    alias, program = group["alias"] or "no name", group["program"]
    line = text(f"group {group['group_id']} ({alias}, {program}): {many(group['regions'], 'region')}")
    line.append(f", {exact(group['covered_bytes'])} of the file")
    if group["excess_bytes"]:
        line.append(f", {exact(group['excess_bytes'])} in excess", style="yellow")
    return line
