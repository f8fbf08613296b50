"""The tally of a run, as progress and as a final table."""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

_LINE_EVERY: Final = 5.0
_BAR: Final = 30


@dataclass(slots=True)
class Tally:
    """The figures of a run on one file system. Times are milliseconds from the change to exact cover,
    including the time of filefrag and dmsetup themselves."""

    fs: str
    wanted: int
    changes: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """The times of undisturbed changes by kind; changes made together count for each kind."""
    disturbed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """The number of changes made together with a kill or an interference, by kind; they are not timed."""
    interferences: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    steps: int = 0
    intruder: int = 0
    missed: int = 0
    exits: int = 0
    orphans: int = 0
    touched: int = 0
    backwards: int = 0
    _began: float = field(default_factory=time.monotonic)
    _line_at: float = 0.0

    @property
    def done(self) -> int:
        """How many changes were made."""
        return sum(map(len, self.changes.values())) + sum(self.disturbed.values())

    @property
    def passed(self) -> bool:
        """Whether nothing was missed and nothing lost."""
        return not (self.missed or self.exits or self.orphans or self.touched or self.backwards)

    def step(self, kinds: list[str], disturbances: list[str], took_ms: float) -> None:
        """Count a step that was followed."""
        self.steps += 1
        for kind in kinds:
            if disturbances:
                self.disturbed[kind] += 1
            else:
                self.changes[kind].append(took_ms)
        for disturbance in disturbances:
            self.interferences[disturbance].append(took_ms)

    def progress(self, *, over: bool = False) -> None:
        """Show the progress: a bar on a terminal, otherwise a line every few seconds."""
        elapsed = time.monotonic() - self._began
        text = f"{self.fs}: {self.done} of {self.wanted} changes, {elapsed:.0f} s, {_times(self._all())}"
        if sys.stdout.isatty():
            full = min(_BAR, _BAR * self.done // max(self.wanted, 1))
            print(f"\r[{'#' * full}{' ' * (_BAR - full)}] {text}\x1b[K", end="\n" if over else "", flush=True)
        elif elapsed >= self._line_at:
            self._line_at = elapsed + _LINE_EVERY
            print(text, flush=True)

    def table(self) -> str:
        """Return the figures of the whole run."""
        rows = [("CHANGE", "COUNT", "DISTURBED", "MEDIAN MS", "MAX MS")]
        for kind in sorted(self.changes.keys() | self.disturbed.keys()):
            times = self.changes.get(kind, [])
            count = len(times) + self.disturbed.get(kind, 0)
            rows.append((kind, str(count), str(self.disturbed.get(kind, 0)), *_figures(times)))
        rows.append(
            ("all changes", str(self.done), str(sum(self.disturbed.values())), *_figures(self._all()))
        )
        rows.append(("", "", "", "", ""))
        rows.append(("DISTURBANCE", "COUNT", "", "MEDIAN MS", "MAX MS"))
        for kind, times in sorted(self.interferences.items()):
            rows.append((kind, str(len(times)), "", *_figures(times)))
        rows.append(("regions made and deleted by another program", str(self.intruder), "", "", ""))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        end = (
            f"{self.fs}: {self.done} changes in {self.steps} steps, {time.monotonic() - self._began:.0f} s; "
            f"missed {self.missed}, exits {self.exits}, orphans {self.orphans}, "
            f"others' regions touched {self.touched}, totals gone back {self.backwards}"
        )
        return "\n".join([*(line.rstrip() for line in lines), "", end])

    def _all(self) -> list[float]:
        return [took for times in self.changes.values() for took in times]


def _figures(times: list[float]) -> tuple[str, str]:
    return (f"{statistics.median(times):.0f}", f"{max(times):.0f}") if times else ("-", "-")


def _times(times: list[float]) -> str:
    median, most = _figures(times)
    return f"median {median} ms, max {most} ms"
