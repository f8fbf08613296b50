"""Where one file's regions lie, and their I/O on its way from the worker to the page."""

from __future__ import annotations

from array import array
from collections.abc import Sequence


class Placement:
    """The pieces that a worker told (channel.Placed), and the I/Os of each that were not handed on yet."""

    __slots__ = ("_ios", "_lengths", "_starts", "is_changed")

    def __init__(self) -> None:
        self._starts = array("Q")
        self._lengths = array("Q")
        self._ios: list[int] = []
        self.is_changed = False
        """Whether there is something that was not handed on."""

    def set_pieces(self, starts: Sequence[int], lengths: Sequence[int]) -> None:
        """Take in where the pieces are now, in sectors; what was counted where they were is dropped."""
        self._starts, self._lengths = array("Q", starts), array("Q", lengths)
        self._ios, self.is_changed = [], True

    def add_ios(self, ios: Sequence[int]) -> None:
        """Take in the I/Os of each piece since the last time; none at all is no news."""
        if len(ios) != len(self._starts) or not ios:
            return
        before = self._ios or [0] * len(ios)
        self._ios, self.is_changed = [a + b for a, b in zip(before, ios, strict=True)], True

    def resend(self) -> None:
        """Have the pieces handed on to somebody who knows nothing of them; it is not told what was counted before."""
        self._ios, self.is_changed = [], True

    def take(self) -> list[tuple[int, int, int]]:
        """Return start, length and I/Os of each piece. The I/Os are told once: none are left afterwards."""
        ios, self._ios, self.is_changed = self._ios or [0] * len(self._starts), [], False
        return list(zip(self._starts, self._lengths, ios, strict=True))
