"""The differences between two similar replies of the kernel: rows of a list, records. Pure."""

from __future__ import annotations

import re
from typing import Final, Protocol

Buffer = bytes | bytearray | memoryview

# Pieces that differ: where there are more, it is quicker to take all apart.
_MOST: Final = 100
_LINE: Final = re.compile(rb"[^\n]*\n?")
_ID: Final = re.compile(rb"(\d{1,20}): ")


class Form(Protocol):
    """How a reply is made of pieces. They come in the order of their keys, as a rule."""

    def begins(self, text: bytes | bytearray, start: int, at: int) -> int:
        """Return where the piece that `at` is in begins, or `at` itself between two; one begins at `start`."""

    def piece(self, text: Buffer, at: int) -> bytes:
        """Return the piece that begins at `at`, empty at the end."""

    def key(self, piece: bytes) -> int:
        """Return a piece's key, -1 where it has none."""


class Rows:
    """Rows of @stats_list, each behind its id."""

    def begins(self, text: bytes | bytearray, start: int, at: int) -> int:
        """See Form."""
        return max(start, text.rfind(b"\n", start, at) + 1)

    def piece(self, text: Buffer, at: int) -> bytes:
        """See Form."""
        line = _LINE.match(text, at)
        return line[0] if line is not None else b""

    def key(self, piece: bytes) -> int:
        """See Form."""
        number = _ID.match(piece)
        return int(number[1]) if number is not None else -1


class Records:
    """Records of `size` bytes, each beginning with its key of 64 bits."""

    def __init__(self, size: int) -> None:
        self._size = size

    def begins(self, text: bytes | bytearray, start: int, at: int) -> int:  # noqa: ARG002 - of the Form
        """See Form."""
        return at - at % self._size

    def piece(self, text: Buffer, at: int) -> bytes:
        """See Form."""
        return bytes(text[at : at + self._size])

    def key(self, piece: bytes) -> int:
        """See Form."""
        return int.from_bytes(piece[:8], "little")


def differing(old: bytes | bytearray, new: Buffer, form: Form) -> list[tuple[bytes, bytes]] | None:
    """Return the pieces of `old` and `new` that differ, in pairs; None where they are many.

    `old` with the first piece of each pair replaced by the second is `new`, up to the order of the pieces. Either
    piece may be empty.
    """
    pairs: list[tuple[bytes, bytes]] = []
    at_old = at_new = 0
    view = memoryview(new)
    while True:
        alike = _alike(old, at_old, view, at_new)
        alike = form.begins(old, at_old, at_old + alike) - at_old
        at_old += alike
        at_new += alike
        one, other = form.piece(old, at_old), form.piece(new, at_new)
        if not one and not other:
            return pairs
        if len(pairs) == _MOST:
            return None
        if one and other and form.key(one) != form.key(other):
            one, other = (one, b"") if form.key(one) < form.key(other) else (b"", other)
        pairs.append((one, other))
        at_old += len(one)
        at_new += len(other)


def _alike(one: bytes | bytearray, at: int, other: memoryview, there: int) -> int:
    """Return how many bytes are the same from `at` in the one and from `there` in the other."""
    low, high = 0, min(len(one) - at, len(other) - there)
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(other[there + low : there + middle], at + low):
            low = middle
        else:
            high = middle - 1
    return low
