"""A run: one measurement after another, with progress output."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

from bench.context import Bench, Measurement
from bench.libdm import PeerError
from bench.machine import made
from bench.results import Row, Run, save
from bench.table import figure, rich_table
from dmstats.errors import DmStatsError
from sandbox.devices import DeviceError


def perform(bench: Bench, measurements: Sequence[Measurement], arguments: Sequence[str], path: Path) -> int:
    """Run the measurements, print the table and write the JSON to `path`. Return the exit status: 1 if one of them
    failed; the others still run. Each row is written as soon as it is measured."""
    console = Console(highlight=False)
    about = made(bench, arguments)
    rows: list[Row] = []
    failed = 0
    for i, measurement in enumerate(measurements, 1):
        console.print(f"[bold]{i}/{len(measurements)} {measurement.name}[/]: {measurement.what}")
        began = time.monotonic()
        try:
            for row in measurement.run(bench):
                rows.append(row)
                save(Run(made=about, rows=tuple(rows)), path)
                console.print(f"    {row.name}: {figure(row.filemapd, row.unit)}", soft_wrap=True)
        except (OSError, AssertionError, DmStatsError, DeviceError, PeerError, psutil.Error) as error:
            failed += 1
            console.print(f"    [bold red]failed[/]: {escape(str(error))}", soft_wrap=True)
        console.print(f"    [dim]{time.monotonic() - began:.0f} s[/]")
    save(Run(made=about, rows=tuple(rows)), path)
    console.print(rich_table(rows))
    console.print(f"The figures are in {path}", soft_wrap=True)
    return 1 if failed else 0
