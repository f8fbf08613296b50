"""The output while the demonstration runs: a live table on a terminal, otherwise a line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo.filemapd import Seen
from demo.timing import Timing

_LINE_EVERY: Final = 5.0
_STYLES: Final = {"RUNNING": "green", "BACKOFF": "yellow", "FAILED": "bold red"}
_KIB: Final = 1024


class Show:
    """The output; `since` is when everything began, in seconds since the epoch."""

    def __init__(self, since: float) -> None:
        self.console = Console(highlight=False)
        self._since = since
        self._live: Live | None = None
        self._line_at = 0.0

    def say(self, text: str, style: str = "") -> None:
        """Print a line with the time."""
        elapsed = time.time() - self._since
        self.console.print(Text(f"{elapsed:6.1f} s  ", "dim").append(text, style), soft_wrap=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Print what was done and its duration, at the end."""
        began = time.monotonic()
        yield
        self.say(f"{text}: {time.monotonic() - began:.1f} s")

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Show successive calls of fleet() in one place, on a terminal that can."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            yield
            return
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        try:
            with self._live:
                yield
        finally:
            self._live = None

    def fleet(self, seen: Mapping[Path, Seen], timing: Timing, title: str) -> None:
        """Show the state of the images."""
        if self._live is not None:
            self._live.update(_table(seen, timing, title), refresh=True)
        elif time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + _LINE_EVERY
            self.say(_line(seen))


def _line(seen: Mapping[Path, Seen]) -> str:
    regions = ", ".join(
        f"{path.name} {s.regions}" if s.state == "RUNNING" else f"{path.name} {s.state}"
        for path, s in seen.items()
    )
    changes = sum(s.changes for s in seen.values())
    return f"regions: {regions}; {changes} changes followed"


def _table(seen: Mapping[Path, Seen], timing: Timing, title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    table.add_column("IMAGE", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    numbers = ("GROUP", "EXTS", "REGS", "UNCOV", "CHG", "MS", "RST", "MOVES", "READS", "WRITES")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    for path, s in seen.items():
        table.add_row(
            path.name,
            Text(s.state, _STYLES.get(s.state, "cyan")),
            "-" if s.group_id is None else str(s.group_id),
            str(s.extents),
            str(s.regions),
            f"{-(-s.uncovered_bytes // _KIB)}K",
            str(s.changes),
            timing.median(path.name),
            str(s.restarts),
            str(len(s.moves)),
            str(s.reads),
            str(s.writes),
        )
    return table
