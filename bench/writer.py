"""Writes a block of each file in a folder about once a second, until it is ended: python -m bench.writer FOLDER."""

from __future__ import annotations

import mmap
import os
import sys
import time
from pathlib import Path
from typing import Final

_BLOCK: Final = 4096
_ROUND: Final = 1.0
# So many are written between two pauses: the writing is spread over the second.
_AT_ONCE: Final = 10


def main() -> None:
    """Write, past the page cache, the first block of each file, which has its place on disk already."""
    buffer = mmap.mmap(-1, _BLOCK)
    flags = os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC
    files = [os.open(file, flags) for file in sorted(Path(sys.argv[1]).iterdir())]
    pause = _ROUND * _AT_ONCE / len(files)
    while True:
        for start in range(0, len(files), _AT_ONCE):
            for fd in files[start : start + _AT_ONCE]:
                os.pwrite(fd, buffer, 0)
            time.sleep(pause)


if __name__ == "__main__":
    main()
