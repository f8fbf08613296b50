"""Starts another program without waiting for it, or for the disk that it is read from."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

_NOT_FOUND: Final = 127
_BLOCKED: Final = frozenset({signal.SIGTERM})
# Variables that systemd sets for this process only.
_OURS: Final = frozenset(
    {
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)


def start_module(module: str, given: Mapping[str, object], sockets: Mapping[str, int]) -> int:
    """Run `python -m MODULE ARGUMENTS` with only stderr and `sockets` open, and return its process id.

    ARGUMENTS is JSON: `given`, `sockets`, and this process's id as `parent`. Raises OSError.
    """
    arguments = json.dumps({**given, **sockets, "parent": os.getpid()})
    # Duplicating a descriptor onto itself makes it inheritable.
    kept = [(os.POSIX_SPAWN_DUP2, number, number) for number in sockets.values()]
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]
    command = [sys.executable, "-I", "-m", module, arguments]
    return os.posix_spawn(sys.executable, command, {}, file_actions=[*null, *kept])


def start(command: Sequence[str], facts: Mapping[str, str], limit: float) -> tuple[int, int]:
    """Run `command` with `facts` in its environment, in a session of its own; return its process id and a
    non-blocking descriptor to read its output from.

    SIGALRM ends it a while after `limit` seconds if this process has gone by then. Raises OSError where no
    process is available. A program that can't be run writes the reason and exits with status 127.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OURS}
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(ours, False)
        pid = _fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        raise
    if pid == 0:
        _child(list(command), {**environment, **facts}, theirs, limit)
    os.close(theirs)
    return pid, ours


def _fork() -> int:
    """fork(2), with SIGTERM blocked in the child: our handler would swallow it, and the command would run on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    pid = None
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    return pid


def _child(command: list[str], environment: dict[str, str], output: int, limit: float) -> NoReturn:
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        # Python ignores the last two, and another program would inherit that.
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
        signal.alarm(int(limit) + 5)
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{command[0]} can't be run: {error.strerror}\n".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(_NOT_FOUND)
