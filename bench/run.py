"""A run: one measurement after another, told while it lasts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.context import Bench, Measurement
from bench.machine import made
from bench.noise import median
from bench.results import Row, Run, save
from bench.table import number, rich_table


def perform(bench: Bench, measurements: Sequence[Measurement], arguments: Sequence[str], path: Path) -> int:
    """Do the measurements, print the table and write the JSON to `path`; return the exit status. Each is written as
    soon as it is there, so that a run that ends early leaves what it has."""
    console = Console(highlight=False)
    about = made(bench, arguments)
    rows: list[Row] = []
    for i, measurement in enumerate(measurements, 1):
        console.print(f"[bold]{i}/{len(measurements)} {measurement.name}[/]: {measurement.what}")
        began = time.monotonic()
        for row in measurement.run(bench):
            rows.append(row)
            console.print(f"    {row.name}: {number(median(row.filemapd))} {row.unit}", soft_wrap=True)
        console.print(f"    [dim]{time.monotonic() - began:.0f} s[/]")
        save(Run(made=about, rows=tuple(rows)), path)
    console.print(rich_table(rows))
    console.print(f"The figures are in {path}", soft_wrap=True)
    return 0
