"""Prints the table of `filemapd map`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.cli.cells import many, standard_output, text

_UNITS: Final = {40: "TiB", 30: "GiB", 20: "MiB", 10: "KiB"}


def print_map(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the JSON of `filemapd map` as a table."""
    out = console or standard_output()
    out.print(_head(result), soft_wrap=True)
    if result["pieces"]:
        out.print(_table(result))
    for group in result["groups"]:
        out.print(_group(group), soft_wrap=True)
    if result["uncovered_bytes"]:
        out.print(
            Text(f"uncovered: {exact(result['uncovered_bytes'])} that no region counts", style="yellow")
        )


def exact(value: int) -> str:
    """Return a number of bytes, unrounded, in the largest unit that divides it."""
    for power, unit in _UNITS.items():
        if value and value % (1 << power) == 0:
            return f"{value >> power}{unit}"
    return f"{value}B"


def _head(result: Mapping[str, Any]) -> Text:
    extents = many(result["extents"], "extent")
    where = f"inode {result['inode']} on {result['device']} ({result['number']})"
    return text(f"{result['path']}: {exact(result['size'])} in {extents}, {where}")


def _table(result: Mapping[str, Any]) -> Table:
    """Return a table with a line for each piece, and one for each further region on it."""
    group_of = {region["id"]: region["group_id"] for region in result["regions"]}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for number in ("OFFSET", "LENGTH", "SECTOR", "REGION", "GROUP"):
        table.add_column(number, justify="right", no_wrap=True)
    table.add_column("FLAGS")
    for piece in result["pieces"]:
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
