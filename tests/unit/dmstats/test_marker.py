"""The marks of regions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmstats.files import FileIdentity
from dmstats.marker import Mark, file_mark, maker_lives, parse_mark, process_mark, start_time

NUMBERS = st.integers(0, 2**63)
FILE = FileIdentity(0xFE00, 12, 3405691582)


@given(st.builds(Mark, NUMBERS, NUMBERS) | st.builds(Mark, NUMBERS, NUMBERS, st.integers(1, 2**22), NUMBERS))
def test_marks_are_read_back(mark: Mark) -> None:
    """A mark, with a maker or without, is parsed as it was written, and is one word to the kernel."""
    assert parse_mark(str(mark)) == mark
    assert str(mark).isascii()
    assert str(mark).split() == [str(mark)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "filemapd",
        "filemapd.i1",
        "filemapd.i1.g2.p3",
        "filemapd.i1.g2.p3.t4.x5",
        "filemapd.i1.g-2",
        " filemapd.i1.g2",
        "filemapd.i1.g2\n",
        "filemapd.i\N{FULLWIDTH DIGIT ONE}.g2",
        "DMS_GROUP=:1#filemapd.i1.g2",
        "filemapd.i" + "9" * 5000 + ".g1",
    ],
)
def test_other_text_is_no_mark(text: str) -> None:
    """Any other aux is not taken for a mark, and never makes the parser fail."""
    assert parse_mark(text) is None


def test_marks_name_a_file() -> None:
    """A mark has inode and generation: a reused inode is another file."""
    assert file_mark(FILE).names(FILE)
    assert process_mark(FILE).names(FILE)
    assert not file_mark(FILE).names(FileIdentity(FILE.dev, FILE.inode, FILE.generation + 1))
    assert not file_mark(FILE).names(FileIdentity(FILE.dev, FILE.inode + 1, FILE.generation))


def test_maker_lives() -> None:
    """This process lives; one with the same pid but another start time isn't the maker."""
    mark = process_mark(FILE)
    assert (mark.pid, mark.started) == (os.getpid(), start_time(os.getpid()))
    assert maker_lives(mark)
    assert not maker_lives(Mark(mark.inode, mark.generation, mark.pid, mark.started + 1))


def test_mark_is_the_process_own_after_fork() -> None:
    """A process forked from a marking one marks with its own pid and start time."""
    process_mark(FILE)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        mine = process_mark(FILE)
        good = mine.pid == os.getpid() and mine.started == start_time(os.getpid())
        os.write(writing, str(mine).encode() if good else b"wrong")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        mark = parse_mark(pipe.read().decode())
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert mark is not None
    assert mark.pid == child
    # A zombie creates no more regions.
    assert not maker_lives(mark)
    os.waitpid(child, 0)
    assert not maker_lives(mark)


def test_start_time_whatever_the_name() -> None:
    """The start time of a process with spaces and parentheses in its name is parsed correctly."""
    script = (
        "import sys; open('/proc/self/comm', 'w').write(') R 1 2 ('); print(flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    own = start_time(os.getpid())
    theirs = start_time(child.pid)
    assert own is not None
    assert theirs is not None
    assert own <= theirs
    child.communicate()
    assert start_time(child.pid) is None
