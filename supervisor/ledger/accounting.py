"""What a file's regions counted in all: retired, of those that have gone, and live, of those that are there. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from dmstats.counters import Counters


def add(one: Counters, other: Counters) -> Counters:
    """Return the sum; where the bounds were changed in between, the earlier histogram is left out."""
    if one.histogram and other.histogram and one.bounds_ns != other.bounds_ns:
        one = one.without_histogram()
    return one + other


@dataclass(frozen=True, slots=True)
class Account:
    """The two parts of a file's total."""

    retired: Counters = field(default_factory=Counters)
    live: Counters = field(default_factory=Counters)
    """What its regions were last seen to have counted."""

    def total(self) -> Counters:
        """Return both together."""
        return add(self.retired, self.live)

    def counted(self, live: Counters, gone: Counters | None = None) -> Account:
        """Return the account after the regions were seen to have counted `live`, and others, which had counted
        `gone`, have gone, or begun again at zero.

        A total never goes back: what it then lacks was cleared by somebody else, or deleted while nobody looked;
        as last seen it goes into the retired total.
        """
        if gone is None and live.lacks_nothing_of(self.live):
            return self if live == self.live else Account(self.retired, live)
        retired = self.retired if gone is None else add(self.retired, gone)
        lost, _ = self.total().take(add(retired, live))
        if live.histogram and lost.bounds_ns != live.bounds_ns:
            lost = lost.without_histogram()  # its bounds were changed: it is not lost, but begins anew
        return Account(add(retired, lost.settled()), live)

    def settled(self, gone: Counters) -> Account:
        """Return the account after a predecessor's regions were found gone, which had counted `gone`: that counts no
        more as live."""
        live, _ = self.live.take(gone)
        return Account(add(self.retired, gone), live)

    def after(self, before: Account) -> Account:
        """Return this account as one that goes on from `before`, which was not known when it began at nothing."""
        return before.counted(self.live, self.retired)
