"""The table of `filemapd cleanup`."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from supervisor.cli.cleanup_table import print_cleanup

ONE: dict[str, Any] = {
    "device": "vg-images",
    "number": "253:3",
    "group_id": 4,
    "regions": [4, 5, 9],
    "path": "/var/lib/libvirt/images/\x1b[2Jold.img",
    "alias": "old.img",
    "inode": 12,
    "generation": 7,
    "reason": "the file is not configured",
    "removed": True,
    "error": None,
}
ORPHAN = ONE | {"group_id": None, "regions": [7], "path": None, "alias": None, "reason": "process 9 ended"}


def printed(left: list[dict[str, Any]], *, dry_run: bool = False) -> list[str]:
    """Return the lines on a terminal of 80 columns without colours."""
    out = io.StringIO()
    print_cleanup({"dry_run": dry_run, "left_over": left}, Console(file=out, width=80))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_removed() -> None:
    """A line for each file, by its path if known, and the totals."""
    assert printed([ONE, ORPHAN]) == [
        "DEVICE    GROUP REGIONS FILE                          WHY",
        r"vg-images     4       3 /var/lib/libvirt/images/\x1b[ the file is not configured",
        "                        2Jold.img",
        "vg-images     -       1 inode 12                      process 9 ended",
        "4 regions of 2 files removed",
    ]


def test_dry_run() -> None:
    """A dry run reports what would be removed."""
    assert printed([ONE | {"removed": False}], dry_run=True)[-1] == "3 regions of 1 file would be removed"


def test_not_removed() -> None:
    """Regions that can't be removed are reported with the reason, and are not counted."""
    error = {"removed": False, "error": "group 4 is already followed by process 77"}
    assert printed([ONE | error, ORPHAN])[-2:] == [
        "vg-images: group 4 not removed: group 4 is already followed by process 77",
        "1 region of 1 file removed",
    ]


def test_nothing_to_remove() -> None:
    """One line, and no table."""
    assert printed([]) == ["nothing to remove"]
