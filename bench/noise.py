"""Medians, percentiles, and how far samples of the same thing lie apart. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

# Of normally distributed samples this many median absolute deviations are one standard deviation.
_DEVIATIONS: Final = 1.4826
# Of a single sample nothing is known; half as much again has been seen between two boots of a busy host.
UNKNOWN: Final = 0.5
# The median of `n` samples varies by this much of a standard deviation, times the root of n.
_OF_MEDIAN: Final = 1.2533


def median(samples: Sequence[float]) -> float:
    """Return the median. Raises ValueError where there are no samples."""
    if not samples:
        raise ValueError("no samples")
    return statistics.median(samples)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the least sample that so many percent of all do not exceed. Raises ValueError where there are none."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def noise(samples: Sequence[float]) -> float:
    """Return the standard deviation of the samples' median as a part of it, by the median absolute deviation, which a
    single outlier does not move; UNKNOWN of less than three samples."""
    if len(samples) < 3:  # noqa: PLR2004 - of two samples, both are equally far from the median
        return UNKNOWN
    middle = median(samples)
    if middle == 0:
        return 0.0 if not any(samples) else UNKNOWN
    deviation = median([abs(sample - middle) for sample in samples]) / abs(middle)
    return _DEVIATIONS * _OF_MEDIAN * deviation / math.sqrt(len(samples))


def ratios(samples: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return sample over sample where they were taken in turns, else each over the others' median."""
    if len(samples) == len(others):
        pairs = zip(samples, others, strict=True)
        return [one / other for one, other in pairs if other > 0]
    middle = median(others)
    return [one / middle for one in samples] if middle > 0 else []
