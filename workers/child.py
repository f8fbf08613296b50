"""The first steps of a forked child: it retains nothing of its parent but memory."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from workers.exit_codes import Exit
from workers.libc import die_with_parent


def run_child(keep: Iterable[int], body: Callable[[], int], parent: int) -> NoReturn:
    """In a child of process `parent`: run `body` and exit with the status that it returns.

    The child has no signal handlers of the forking process, only stdio and `keep` open, and ends when `parent`
    ends.
    """
    status = int(Exit.FAILED)
    try:
        reset_signals()
        die_with_parent(parent)
        _close_all_but({0, 1, 2, *keep})
        status = body()
    except BaseException as error:  # noqa: BLE001 - nothing of the forking process's may run on in its child
        sys.stderr.write(f"a child of filemapd failed: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def reset_signals() -> None:
    """Ignore SIGINT and SIGHUP, which are for the supervisor, and SIGIO of a broken lease; reset other handlers."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)


def _close_all_but(keep: set[int]) -> None:
    """Close what is inherited, above all the channels of other workers: their end of file would never come."""
    low = 0
    for fd in sorted(keep):
        if low < fd:  # CPython takes the empty range that ends at 0 for all there are
            os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
