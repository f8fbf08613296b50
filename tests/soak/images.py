"""The followed files of a file system: some get a known amount of I/O, others change at random."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.kernel import oracle
from tests.kernel.changes import KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.conftest import read_direct, write_direct
from tests.soak.load import BLOCK, CORE
from tests.soak.volume import Volume
from tests.torture.contents import CONTENTS, LARGEST, fill, write_anew

_COUNTED: Final = 2
_CHANGING: Final = 3
_OLDEST: Final = 12
# The offset of a counted image's changing part; between it and the core is a part that is freed at the start.
_TAIL: Final = 16 * MIB
_TAIL_LENGTH: Final = 32 * MIB
_SPARE: Final = 2 * MIB


@dataclass(slots=True, eq=False)
class Image:
    """A followed file. The core of a `counted` one is read and written all the time and doesn't move; the
    rest changes while that pauses. `before` are reads and writes other than the load's."""

    path: Path
    volume: Volume
    counted: bool
    before: tuple[int, int] = (0, 0)
    forgiven: int = 0
    """The number of failed reads and writes that have been accounted for."""
    aged: int = 0

    def change(self, rng: Random) -> str:
        """Change a file that isn't counted, and return the name of the change."""
        self.aged += 1
        if self.aged > _OLDEST or self.path.stat().st_size > LARGEST:
            self.aged = 0
            write_anew(rng, self.path)
            return f"rewrite of {self.path.name}"
        contents = CONTENTS[self.volume.kind]
        kind = rng.choice(sorted(contents))
        contents[kind](rng, self.path)
        return f"{kind} of {self.path.name}"

    def change_tail(self, rng: Random) -> None:
        """Change a counted file behind its core. The change must not touch the core on disk: otherwise their
        regions would be joined, and recreated during the I/O."""
        offset, length = _TAIL + rng.randrange(_TAIL_LENGTH // BLOCK) * BLOCK, rng.randint(1, 512) * BLOCK
        with opened(self.path) as fd:
            fallocate(fd, KEEP_SIZE | (PUNCH_HOLE if rng.random() < 0.5 else 0), offset, length)
            os.fsync(fd)
            if self._touches_core():
                fallocate(fd, KEEP_SIZE | PUNCH_HOLE, _TAIL, 2 * _TAIL_LENGTH)
                os.fsync(fd)

    def retire_some(self) -> None:
        """Free the part behind the core, which has had I/O."""
        with opened(self.path) as fd:
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, CORE, _SPARE)
            os.fsync(fd)

    def use_spare(self, reads: int, writes: int) -> None:
        """Read and write blocks of the part that retire_some() frees."""
        read_direct(self.path, CORE, reads)
        write_direct(self.path, CORE, writes)
        self.before = (self.before[0] + reads, self.before[1] + writes)

    def _touches_core(self) -> bool:
        pieces = oracle.extents(self.path)
        edges = {edge for p in pieces if p.logical < CORE for edge in (p.physical, p.physical + p.length)}
        return any(
            p.physical in edges or p.physical + p.length in edges for p in pieces if p.logical >= _TAIL
        )


def make_images(volume: Volume) -> list[Image]:
    """Create the images of a file system."""
    counted = [Image(volume.folder / f"counted{n}.{volume.kind}.img", volume, True) for n in range(_COUNTED)]
    changing = [
        Image(volume.folder / f"changing{n}.{volume.kind}.img", volume, False) for n in range(_CHANGING)
    ]
    for image in counted:
        _allocate(image.path, CORE + _SPARE)
    for image in changing:
        fill(image.path)
    return [*counted, *changing]


def _allocate(path: Path, length: int) -> None:
    """Create a file that is allocated for good: nothing is preallocated and freed later."""
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        fallocate(fd, 0, 0, length)
    for offset in range(0, length, BLOCK):
        write_direct(path, offset, 1)
    with opened(path) as fd:
        os.fsync(fd)
