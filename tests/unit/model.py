"""A model of a device's dm_stats: it parses messages like drivers/md/dm-stats.c, and counts no time.

tests/kernel/test_device.py sends the same messages to it and to a real device, and compares.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from dmstats.device import Device
from dmstats.errors import DmError

_SPACES = b"\t\n\v\f\r \xa0"
_MUTE = (b"@stats_list", b"@stats_print")


def split_words(message: bytes) -> list[bytes]:
    """Split like dm_split_args() in drivers/md/dm-table.c: at the kernel's isspace(), with backslash as
    quote."""
    words: list[bytes] = []
    at = 0
    while True:
        while at < len(message) and message[at] in _SPACES:
            at += 1
        if at == len(message):
            return words
        word = bytearray()
        while at < len(message) and message[at] not in _SPACES:
            if message[at : at + 1] == b"\\" and at + 1 < len(message):
                at += 1
            word.append(message[at])
            at += 1
        words.append(bytes(word))


@dataclass(slots=True)
class Row:
    """One region of the model."""

    start: int
    length: int
    options: tuple[bytes, ...]
    program: bytes
    aux: bytes
    reads: int = 0


class Killed(BaseException):
    """The process that sends the messages was killed."""


def _bins(row: Row) -> bytes:
    """Return the histogram of reads that took no time, if the region has one."""
    for option in row.options:
        if option.startswith(b"histogram:"):
            return b" %d" % row.reads + b":0" * len(option.split(b","))
    return b""


class ModelDevice(Device):
    """A device in memory. After `fuse` messages that change something the sender is killed; None means
    never."""

    def __init__(self) -> None:
        super().__init__(0)
        self.rows: dict[int, Row] = {}
        self.fuse: int | None = None

    def read(self, sector: int) -> None:
        """Read one sector."""
        for row in self.rows.values():
            if row.start <= sector < row.start + row.length:
                row.reads += 1

    def _send(self, message: bytes) -> memoryview:
        command, *words = split_words(message)
        if command not in _MUTE:
            if self.fuse == 0:
                raise Killed
            if self.fuse is not None:
                self.fuse -= 1
        return memoryview(self._respond(command, words))

    def _respond(self, command: bytes, words: list[bytes]) -> bytes:
        if command == b"@stats_create":
            return self._create(*words)
        if command == b"@stats_list":
            return b"".join(
                self._shown(number)
                for number in sorted(self.rows)
                if not words or self.rows[number].program == words[0]
            )
        number = int(words[0])
        if number not in self.rows:
            raise DmError(errno.ENOENT, command.decode(), "the model")
        row = self.rows[number]
        if command == b"@stats_print":
            return b"%d+%d %d 0 %d 0 0 0 0 0 0 0 0 0 0%s\n" % (
                row.start,
                row.length,
                row.reads,
                row.reads,
                _bins(row),
            )
        if command == b"@stats_delete":
            del self.rows[number]
        elif command == b"@stats_clear":
            row.reads = 0
        elif command == b"@stats_set_aux" and len(words) == 2:
            row.aux = words[1]
        else:
            raise DmError(errno.EINVAL, command.decode(), "the model")
        return b""

    def _create(self, where: bytes, step: bytes, count: bytes, *words: bytes) -> bytes:
        options, (program, aux) = words[: int(count)], words[int(count) :]
        start, length = map(int, where.split(b"+"))
        if step != b"/1" or length == 0:
            raise DmError(errno.EINVAL, "@stats_create", "the model")
        number = next(n for n in range(len(self.rows) + 1) if n not in self.rows)
        self.rows[number] = Row(start, length, tuple(options), program, aux)
        return b"%d" % number

    def _shown(self, number: int) -> bytes:
        row = self.rows[number]
        words = [b"%d+%d" % (row.start, row.length), b"%d" % row.length, row.program, row.aux]
        # The kernel prints them in this order, whatever the order in the message.
        words += sorted(row.options, key=lambda option: option.startswith(b"histogram:"))
        return b"%d: %s\n" % (number, b" ".join(words))
