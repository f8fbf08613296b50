"""The limit on descriptors at start, and hints when a resource is exhausted."""

from __future__ import annotations

import errno
import logging
import os
import resource
from collections.abc import Callable

import pytest

from supervisor.runtime.rlimits import advice, needed_descriptors, raise_descriptors
from workers.libc import keep_capabilities

TOO_FEW = (
    "1000 files need 2128 descriptors, only 512 may be had: "
    "set LimitNOFILE=2128 in the unit, or ulimit -n 2128\n"
)


def limits_after(work: Callable[[], None]) -> tuple[tuple[int, int], str]:
    """Run `work` in a child that may not raise hard limits; return its limits afterwards, and its log."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(write, "w", closefd=False) as stream:
                logging.basicConfig(stream=stream, format="%(message)s", force=True)
                keep_capabilities(())
                work()
            os.write(write, b"\0%d %d" % resource.getrlimit(resource.RLIMIT_NOFILE))
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        log, _, limits = pipe.read().decode().partition("\0")
    os.waitpid(pid, 0)
    soft, hard = map(int, limits.split())
    return (soft, hard), log


@pytest.mark.parametrize(
    ("before", "after", "log"),
    [
        ((64, 4096), (2128, 4096), ""),
        ((4096, 4096), (4096, 4096), ""),
        ((64, 512), (512, 512), TOO_FEW),
        ((512, 512), (512, 512), TOO_FEW),
    ],
)
def test_as_many_as_the_files_take(before: tuple[int, int], after: tuple[int, int], log: str) -> None:
    """The soft limit is raised if the hard one allows it; otherwise the log has what to set."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        raise_descriptors(1000)

    assert needed_descriptors(1000) == 2128
    assert limits_after(work) == (after, log)


@pytest.mark.parametrize(
    ("number", "limit"),
    [
        (errno.EMFILE, "LimitNOFILE="),
        (errno.ENFILE, "fs.file-max"),
        (errno.EAGAIN, "TasksMax="),
        (errno.ENOMEM, ""),
    ],
)
def test_what_to_raise(number: int, limit: str) -> None:
    """The hint names the limit that was reached."""
    text = advice(OSError(number, os.strerror(number)))
    assert limit in text
    assert bool(text) == bool(limit)
