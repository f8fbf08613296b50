"""How many messages of which kind our code sends to device-mapper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dmstats import ioctl


@dataclass(slots=True)
class Messages:
    """What was sent, in order."""

    sent: list[bytes] = field(default_factory=list)

    def kinds(self) -> Counter[str]:
        """Return how many there were of each kind, without the "@stats_"."""
        return Counter(message.split(b" ")[0].removeprefix(b"@stats_").decode() for message in self.sent)


@contextmanager
def counting() -> Iterator[Messages]:
    """Note every message that this process sends, besides sending it."""
    messages, real = Messages(), ioctl.target_message

    def noting(dev: int, message: bytes) -> memoryview:
        messages.sent.append(message)
        return real(dev, message)

    ioctl.target_message = noting
    try:
        yield messages
    finally:
        ioctl.target_message = real
