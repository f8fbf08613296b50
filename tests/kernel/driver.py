"""I/O of known count and size."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tests.kernel.changes import MIB, opened
from tests.kernel.running import Running

BLOCK = 4096


class Driver:
    """Does I/O of known count and size to a file: one block of `block` bytes at a time, with O_DIRECT."""

    def __init__(self, file: Path, block: int = BLOCK) -> None:
        self.file = file
        self.block = block
        self.reads = self.writes = 0
        self._buffer = mmap.mmap(-1, block)

    def read(self, count: int, at: int) -> None:
        """Read `count` blocks from an offset in MiB."""
        with opened(self.file, os.O_RDONLY | os.O_DIRECT) as fd:
            for i in range(count):
                os.preadv(fd, [self._buffer], at * MIB + i * self.block)
        self.reads += count

    def read_at(self, offset: int) -> None:
        """Read a block from an offset in bytes."""
        with opened(self.file, os.O_RDONLY | os.O_DIRECT) as fd:
            os.preadv(fd, [self._buffer], offset)
        self.reads += 1

    def write(self, count: int, at: int) -> None:
        """Write `count` blocks that are already allocated on disk."""
        with opened(self.file, os.O_WRONLY | os.O_DIRECT) as fd:
            for i in range(count):
                os.pwrite(fd, self._buffer, at * MIB + i * self.block)
        self.writes += count

    def counted(self, supervisor: Running) -> bool:
        """Fail unless the status shows exactly the I/O that was done."""
        filemap = supervisor.filemap(self.file)
        assert filemap, supervisor.status()
        bytes_done = (self.reads * self.block, self.writes * self.block)
        done = (self.reads, self.writes, *bytes_done, self.reads + self.writes)
        counters = tuple(filemap[k] for k in ("reads", "writes", "bytes_read", "bytes_written"))
        assert (*counters, sum(filemap["histogram"])) == done, (filemap, done)
        return True
