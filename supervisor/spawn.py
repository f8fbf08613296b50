"""Start a worker: a fork of the supervisor, so that the two share what was imported."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NoReturn

from workers import channel, process
from workers.exits import Exit
from workers.libc import die_with_parent


@dataclass(frozen=True, slots=True)
class Child:
    """A worker process and our end of its channel."""

    pid: int
    channel: channel.Channel


def share_memory() -> None:
    """Call once, when all is imported: what there is now is left alone by the garbage collector, so that it stays
    shared with the workers."""
    gc.collect()
    gc.freeze()


def spawn(job: process.Job, keep: Iterable[int], first: Callable[[], None]) -> Child:
    """Fork a worker for `job`, which begins by calling `first`. `job.fd` may be open with O_PATH; `keep` stay
    open in the child beside stdio.

    Raises OSError where no process or socket is to be had.
    """
    ours, theirs = channel.pair()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        _child(job, theirs, {theirs.fileno(), *keep}, parent, first)
    theirs.close()
    return Child(pid, ours)


def _child(
    job: process.Job, own: channel.Channel, keep: set[int], parent: int, first: Callable[[], None]
) -> NoReturn:
    status = int(Exit.FAILED)
    try:
        _reset_signals()
        die_with_parent(parent)
        fd = _reopened(job.fd)
        _close_all_but({0, 1, 2, *keep} | ({fd} if fd is not None else set()))
        first()
        status = int(process.run(own, replace(job, fd=fd)))
    except BaseException as error:  # noqa: BLE001 - nothing of the supervisor's may run on in its child
        sys.stderr.write(f"a worker failed to start: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def _reset_signals() -> None:
    """SIGINT and SIGHUP are for the supervisor; SIGIO comes where a lease is broken."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)


def _reopened(fd: int | None) -> int | None:
    """Return a descriptor for reading the file at `fd`, which may be O_PATH, or None where it can't be had."""
    if fd is None:
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None


def _close_all_but(keep: set[int]) -> None:
    """Close what is inherited: the channels of other workers above all, whose ends would never be seen."""
    low = 0
    for fd in sorted(keep):
        if low < fd:  # CPython takes the empty range that ends at 0 for all there are
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
