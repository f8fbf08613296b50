"""A logarithmic axis: its ends and its labels. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1, 2, 5)
# More would stand too close to be read.
_MOST: Final = 10


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, both larger than 0. `label` names the quantity and its unit."""

    low: float
    high: float
    label: str

    def place(self, value: float) -> float:
        """Return where a value lies: 0 at the axis's begin, 1 at its end."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Return the values to label: 1, 2 and 5 times the powers of ten, or the powers alone on a long axis."""
        fine = list(_grid(self.low, self.high))
        return fine if len(fine) <= _MOST else [tick for tick in fine if f"{tick:e}".startswith("1.0")]


def axis(values: Iterable[float], label: str) -> Axis:
    """Return an axis for values larger than 0: it begins and ends at 1, 2 or 5 times a power of ten."""
    known = list(values)
    low, high = min(known), max(known)
    grid = list(_grid(low / 10, high * 10))
    begin = max(tick for tick in grid if tick <= low * (1 + 1e-9))
    end = min(tick for tick in grid if tick >= high * (1 - 1e-9) and tick > begin)
    return Axis(begin, end, label)


def _grid(low: float, high: float) -> Iterable[float]:
    """Yield 1, 2 and 5 times the powers of ten between two values, inclusive."""
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for step in _STEPS:
            # From its digits, not by multiplication: 0.1 * 3 is not 0.3.
            tick = float(f"{step}e{power}")
            if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9):
                yield tick
