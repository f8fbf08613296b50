"""Prints the table of `filemapd cleanup`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from supervisor.cli.cells import count, many, standard_output, text


def print_cleanup(result: Mapping[str, Any], console: Console | None = None) -> None:
    """Print the JSON of `filemapd cleanup` as a table."""
    out = console or standard_output()
    left = result["left_over"]
    if not left:
        out.print("nothing to remove")
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("DEVICE", overflow="fold", min_width=8)
    table.add_column("GROUP", justify="right", no_wrap=True)
    table.add_column("REGIONS", justify="right", no_wrap=True)
    table.add_column("FILE", overflow="fold", min_width=8)
    table.add_column("WHY", overflow="fold")
    for one in left:
        file = one["path"] or one["alias"] or f"inode {one['inode']}"
        regions = str(len(one["regions"]))
        table.add_row(text(one["device"]), count(one["group_id"]), regions, text(file), text(one["reason"]))
    out.print(table)
    for one in left:
        if one["error"] is not None:
            what = "regions" if one["group_id"] is None else f"group {one['group_id']}"
            out.print(
                text(f"{one['device']}: {what} not removed: {one['error']}"), style="red", soft_wrap=True
            )
    removed = [one for one in left if one["removed"] or result["dry_run"]]
    verb = "would be removed" if result["dry_run"] else "removed"
    total = sum(len(one["regions"]) for one in removed)
    out.print(f"{many(total, 'region')} of {many(len(removed), 'file')} {verb}")
