"""The total of a file's regions: retired (regions that have gone) plus live (present regions). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from dmstats.counters import Counters


def add(one: Counters, other: Counters) -> Counters:
    """Return the sum. Where the bounds have changed in between, the earlier histogram is left out."""
    if one.histogram and other.histogram and one.bounds_ns != other.bounds_ns:
        one = one.without_histogram()
    return one + other


@dataclass(frozen=True, slots=True)
class Account:
    """The two parts of a file's total."""

    retired: Counters = field(default_factory=Counters)
    live: Counters = field(default_factory=Counters)
    """The last sample of its present regions."""

    def total(self) -> Counters:
        """Return the sum of both."""
        return add(self.retired, self.live)

    def counted(self, live: Counters, gone: Counters | None = None) -> Account:
        """Return the account after a sample of `live`. Regions with counters `gone` have gone, or started at zero
        again.

        A total never decreases: counters that it would lack were cleared or deleted by another program. Their last
        values are retired.
        """
        if gone is None and live.lacks_nothing_of(self.live):
            return self if live == self.live else Account(self.retired, live)
        retired = self.retired if gone is None else add(self.retired, gone)
        lost, _ = self.total().take(add(retired, live))
        if live.histogram and lost.bounds_ns != live.bounds_ns:
            lost = lost.without_histogram()  # its bounds were changed: it is not lost, but starts again
        return Account(add(retired, lost.settled()), live)

    def settled(self, gone: Counters) -> Account:
        """Return the account after regions of a predecessor, with counters `gone`, were found gone: these are no
        longer live."""
        live, _ = self.live.take(gone)
        return Account(add(self.retired, gone), live)

    def after(self, before: Account) -> Account:
        """Return this account as a continuation of `before`, which was not known when this one started at zero."""
        return before.counted(self.live, self.retired)
