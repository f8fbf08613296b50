"""I/O of known amount: a process reads and writes allocated blocks of files with O_DIRECT."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import struct
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final

from tests.kernel.changes import MIB

BLOCK: Final = 4096
CORE: Final = 4 * MIB
"""The part of each file, from its start, that is read and written."""
_PAUSE: Final = 0.005
_PATIENCE: Final = 60.0
_COUNTS: Final = struct.Struct("=3Q")
_fork = multiprocessing.get_context("fork")


class Load:
    """Reads and writes `files` until its end. It starts paused."""

    def __init__(self, files: list[Path], seed: int) -> None:
        self._files = files
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._ours, theirs = _fork.Pipe()
        self._process = _fork.Process(target=_work, args=(theirs, files, self._memory, seed), daemon=True)
        self._process.start()
        theirs.close()

    def done(self) -> dict[Path, tuple[int, int, int]]:
        """Return for each file the number of reads, writes and failures. The device may or may not have seen
        a failed one. Exact while paused."""
        return {
            file: _COUNTS.unpack_from(self._memory, at * _COUNTS.size) for at, file in enumerate(self._files)
        }

    def go_on(self) -> None:
        """End the pause."""
        self._ours.send("go on")

    def pause(self) -> None:
        """Pause, and return once no I/O is in progress and no file is open. Raises AssertionError if it
        hangs."""
        self._ours.send("pause")
        assert self._ours.poll(_PATIENCE), "the load hangs in its I/O"
        self._ours.recv()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def _work(pipe: Connection, files: list[Path], memory: mmap.mmap, seed: int) -> None:
    rng, page = Random(seed), mmap.mmap(-1, BLOCK)
    pipe.recv()
    while True:
        if pipe.poll(_PAUSE):
            pipe.recv()
            pipe.send("paused")
            pipe.recv()
        number = rng.randrange(len(files))
        write = rng.random() < 0.4
        with _opened(files[number], write=write) as fd:
            if fd is None:
                continue
            offset = rng.randrange(CORE // BLOCK) * BLOCK
            failed = False
            try:
                os.pwrite(fd, page, offset) if write else os.preadv(fd, [page], offset)
            except OSError:
                failed = True
        at = number * _COUNTS.size
        reads, writes, failures = _COUNTS.unpack_from(memory, at)
        done = (
            (reads + (not write), writes + write, failures) if not failed else (reads, writes, failures + 1)
        )
        _COUNTS.pack_into(memory, at, *done)


@contextlib.contextmanager
def _opened(file: Path, *, write: bool) -> Iterator[int | None]:
    """Open a file to read or write; None if it can't be opened now."""
    try:
        fd = os.open(file, (os.O_WRONLY if write else os.O_RDONLY) | os.O_DIRECT)
    except OSError:
        time.sleep(_PAUSE)
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)
