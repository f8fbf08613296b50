"""All measurements, in the order of the table."""

from __future__ import annotations

from typing import Final

from bench import fleet, following, growth, latency, reconcile
from bench.context import Measurement

MEASUREMENTS: Final[tuple[Measurement, ...]] = (
    *reconcile.MEASUREMENTS,
    *following.MEASUREMENTS,
    *latency.MEASUREMENTS,
    *fleet.MEASUREMENTS,
    *growth.MEASUREMENTS,
)


def chosen(names: list[str] | None) -> tuple[Measurement, ...]:
    """Return those of the names, all without names. Raises ValueError for one that there is not."""
    known = {measurement.name for measurement in MEASUREMENTS}
    for name in names or ():
        if name not in known:
            raise ValueError(f"there is no measurement {name!r}: there are {', '.join(sorted(known))}")
    return tuple(m for m in MEASUREMENTS if not names or m.name in names)
