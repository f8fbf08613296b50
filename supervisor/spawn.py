"""Children that are forks of the supervisor, so that they share what was imported."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from workers import channel
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


def fork(keep: Iterable[int], body: Callable[[], int]) -> int:
    """Fork a child that ends with the status which `body` returns, and return its pid. It has no signal handlers of
    ours, ends when we do, and has nothing open but stdio and `keep`.

    Raises OSError where no process is to be had.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        as_child(keep, body, parent)
    return pid


def as_child(keep: Iterable[int], body: Callable[[], int], parent: int) -> NoReturn:
    """In a child of process `parent`: see fork()."""
    status = int(Exit.FAILED)
    try:
        _reset_signals()
        die_with_parent(parent)
        _close_all_but({0, 1, 2, *keep})
        status = body()
    except BaseException as error:  # noqa: BLE001 - nothing of the supervisor's may run on in its child
        sys.stderr.write(f"a child of filemapd failed: {type(error).__name__}: {error}\n")
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


def reopened(fd: int) -> int | None:
    """Return a descriptor in place of `fd`, which may be O_PATH, to read the file; None where it can't be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    finally:
        os.close(fd)


def _close_all_but(keep: set[int]) -> None:
    """Close what is inherited: the channels of other workers above all, whose ends would never be seen."""
    low = 0
    for fd in sorted(keep):
        if low < fd:  # CPython takes the empty range that ends at 0 for all there are
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
