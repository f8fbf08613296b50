"""The mark that our regions carry in their aux: which file they are for, and which process made them.

A region that is marked for a file but stands in no tag was left by a process that was killed between two
messages, once that process is gone; while it lives, its work is under way.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

from dmstats.files import FileIdentity

# libdm 1.02.185 loses the last byte of a group's userdata whenever it rewrites the tag, as `dmstats delete` of a
# member does (seen with Debian 12's dmstats): the ending is there to be lost.
_ENDING = ".group"
_MARK = re.compile(
    r"filemapd\.i(\d{1,20})\.g(\d{1,20})(?:\.p(\d{1,20})\.t(\d{1,20})|\.(?:g(?:r(?:o(?:up?)?)?)?)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: inode and generation of the file; pid and start time (clock ticks since boot) of the maker,
    both 0 in a group's userdata."""

    inode: int
    generation: int
    pid: int = 0
    started: int = 0

    def __str__(self) -> str:
        text = _beginning(self.inode, self.generation)
        return text + (f".p{self.pid}.t{self.started}" if self.pid else _ENDING)

    def names(self, file: FileIdentity) -> bool:
        """Return whether the mark is of `file`; both are on the same device."""
        return (self.inode, self.generation) == (file.inode, file.generation)


def _beginning(inode: int, generation: int) -> str:
    return f"filemapd.i{inode}.g{generation}"


def beginning(file: FileIdentity) -> str:
    """Return the common beginning of all marks of a file. Marks of other files may have it, too."""
    return _beginning(file.inode, file.generation)


# All regions that a worker made bear the same text.
@functools.lru_cache(maxsize=64)
def parse_mark(text: str) -> Mark | None:
    """Return the mark that `text` is, or None."""
    match = _MARK.fullmatch(text)
    if match is None:
        return None
    return Mark(int(match[1]), int(match[2]), int(match[3] or 0), int(match[4] or 0))


def file_mark(file: FileIdentity) -> Mark:
    """Return the mark for the userdata of a group of `file`."""
    return Mark(file.inode, file.generation)


def process_mark(file: FileIdentity) -> Mark:
    """Return the mark that this process puts on the regions it makes for `file`."""
    pid = os.getpid()
    return Mark(file.inode, file.generation, pid, _own_start(pid))


@functools.cache
def _own_start(pid: int) -> int:
    return start_time(pid) or 0


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot, or None where there is none (proc(5))."""
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The name in parentheses may hold anything, so count from its end: state is field 3, starttime 22.
    fields = status[status.rindex(b")") + 2 :].split(b" ")
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def maker_lives(mark: Mark) -> bool:
    """Return whether the process that made a region is alive."""
    return start_time(mark.pid) == mark.started
