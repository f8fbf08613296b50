"""The three disk images: one steady, one fragmented, one that grows.

Each consists of cells, written or free. A freed cell is a hole in the file.
"""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Final, Self

IMAGES: Final = Path("/var/lib/libvirt/images")
STEADY: Final = IMAGES / "db01.img"
FRAGMENTED: Final = IMAGES / "web01.qcow2"
GROWING: Final = IMAGES / "app01.raw"

CELL: Final = 128 * 1024
_BLOCK: Final = 4096
_CELLS: Final = 192


class Image:
    """A disk image with `cells` written cells. Counts the blocks read and written. Thread-safe.

    Its methods raise OSError.
    """

    def __init__(self, path: Path, cells: int) -> None:
        self.path = path
        self.reads = 0
        self.writes = 0
        self.changed: deque[float] = deque()
        """When each change of the extents began, in seconds since the epoch."""
        self._cells = set(range(cells))
        self._lock = threading.Lock()
        self._block = mmap.mmap(-1, _BLOCK)  # aligned, as O_DIRECT requires
        self._data = os.urandom(CELL)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._direct = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        for cell in range(cells):
            os.pwrite(self._fd, self._data, cell * CELL)
        os.fdatasync(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._direct)
        os.close(self._fd)

    @property
    def cells(self) -> int:
        """The number of written cells."""
        return len(self._cells)

    def read(self) -> None:
        """Read a block somewhere, from the device."""
        with self._lock:
            os.preadv(self._direct, [self._block], self._somewhere())
            self.reads += 1

    def write(self) -> None:
        """Write a block somewhere, to the device."""
        with self._lock:
            os.pwritev(self._direct, [self._block], self._somewhere())
            self.writes += 1

    def toggle(self) -> None:
        """Free a cell if it is written, write it if it is free, as a guest's discards do."""
        cell = random.randrange(_CELLS)
        if cell in self._cells:
            self.free(range(cell, cell + 1))
        else:
            self._fill(cell)

    def append(self) -> None:
        """Write a cell after the last one."""
        self._fill(max(self._cells) + 1)

    def cut(self, cells: int) -> None:
        """Shorten the file to `cells` cells."""
        with self._lock:
            self.changed.append(time.time())
            self._cells.intersection_update(range(cells))
            os.ftruncate(self._fd, cells * CELL)

    def free(self, cells: range) -> None:
        """Punch a hole of cells."""
        place = ["--offset", str(cells.start * CELL), "--length", str(len(cells) * CELL)]
        with self._lock:
            self.changed.append(time.time())
            self._cells.difference_update(cells)
            # Its own session: Ctrl-C must not interrupt it.
            subprocess.run(
                ["fallocate", "--punch-hole", *place, str(self.path)],
                check=True,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _fill(self, cell: int) -> None:
        """Write through the page cache, so that blocks are allocated later."""
        with self._lock:
            self.changed.append(time.time())
            os.pwrite(self._fd, self._data, cell * CELL)
            os.fdatasync(self._fd)
            self._cells.add(cell)
            self.writes += CELL // _BLOCK

    def _somewhere(self) -> int:
        cell = random.choice(tuple(self._cells))
        return cell * CELL + random.randrange(CELL // _BLOCK) * _BLOCK


def make_steady() -> Image:
    """An image in six pieces, so that one can be freed."""
    image = Image(STEADY, _CELLS)
    for piece in range(24, _CELLS, 32):
        image.free(range(piece, piece + 8))
    return image


def make_fragmented() -> Image:
    """An image in 24 pieces; more as cells are freed and written."""
    image = Image(FRAGMENTED, _CELLS)
    for piece in range(4, _CELLS, 8):
        image.free(range(piece, piece + 4))
    return image


def make_growing() -> Image:
    """A small image."""
    return Image(GROWING, 16)
