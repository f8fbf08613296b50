"""Finds what got worse between two runs by more than noise. Pure.

Runs are made on machines that differ in speed from day to day, so what is compared is the ratio to the kernel's
floor where a row has one, else to the peer, else the figure itself. Counts have no noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.noise import median, noise, ratios
from bench.results import Row, Run

# Three deviations: of a hundred rows that did not change one is named in three runs or so.
_DEVIATIONS: Final = 3.0
# Variation that repeats within one boot can't show: the layout of memory, and other load on the host.
_BETWEEN_RUNS: Final = 0.10
# A figure without a reference depends on the machine's speed.
_ABSOLUTE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Change:
    """A row in two runs. `before` and `after` are `of` the floor or the peer, or in the row's unit where that is
    empty. `allowed` is what noise explains, as a factor."""

    name: str
    of: str
    before: float
    after: float
    allowed: float

    @property
    def factor(self) -> float:
        """The ratio of after to before."""
        if self.before == 0:
            return 1.0 if self.after == 0 else math.inf
        return self.after / self.before

    @property
    def worse(self) -> bool:
        """Whether it got worse by more than noise."""
        return self.factor > self.allowed

    @property
    def better(self) -> bool:
        """Whether it got better by more than noise."""
        return self.factor < 1 / self.allowed


def compare(old: Run, new: Run) -> Iterator[Change]:
    """Yield the rows that are in both runs."""
    for row in new.rows:
        before = old.row(row.name)
        if before is not None and before.unit == row.unit:
            yield _change(before, row)


def missing(old: Run, new: Run) -> list[str]:
    """Return the names of the rows that only the old run has. They can't be compared."""
    return [row.name for row in old.rows if new.row(row.name) is None]


def _change(old: Row, new: Row) -> Change:
    if new.unit == "count":
        return Change(new.name, "", max(old.filemapd), max(new.filemapd), 1.0)
    if old.floor and new.floor:
        return _by_samples(
            new.name, "floor", ratios(old.filemapd, old.floor), ratios(new.filemapd, new.floor)
        )
    if old.peer and new.peer:
        return _by_samples(new.name, "peer", ratios(old.filemapd, old.peer), ratios(new.filemapd, new.peer))
    return _by_samples(new.name, "", old.filemapd, new.filemapd)


def _by_samples(name: str, of: str, old: Sequence[float], new: Sequence[float]) -> Change:
    margin = _BETWEEN_RUNS if of else _ABSOLUTE
    allowed = 1 + margin + _DEVIATIONS * math.hypot(noise(old), noise(new))
    return Change(name, of, median(old), median(new), allowed)
