"""Where the regions of one file lie, and their I/Os on the way from the worker to the page."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Placement:
    """The pieces that a worker reported (messages.Placed), and the I/Os of each that were not sent yet."""

    __slots__ = ("_ios", "_lengths", "_starts", "is_changed")

    def __init__(self) -> None:
        self._starts = array("Q")
        self._lengths = array("Q")
        self._ios: list[int] = []
        self.is_changed = False
        """Whether there is something to send."""

    def set_pieces(self, starts: Sequence[int], lengths: Sequence[int]) -> None:
        """Set where the pieces are, in sectors. I/Os of the former pieces are dropped."""
        self._starts, self._lengths = array("Q", starts), array("Q", lengths)
        self._ios, self.is_changed = [], True

    def add_ios(self, ios: Sequence[int]) -> None:
        """Add the I/Os of each piece since the last report; an empty list changes nothing."""
        if len(ios) != len(self._starts) or not ios:
            return
        before = self._ios or [0] * len(ios)
        self._ios, self.is_changed = [a + b for a, b in zip(before, ios, strict=True)], True

    def resend(self) -> None:
        """Send the pieces again, to a receiver that has none of them. I/Os not sent yet are dropped."""
        self._ios, self.is_changed = [], True

    def take(self) -> list[tuple[int, int, int]]:
        """Return start, length and I/Os of each piece, and set the I/Os to zero."""
        ios, self._ios, self.is_changed = self._ios or [0] * len(self._starts), [], False
        return list(zip(self._starts, self._lengths, ios, strict=True))
