"""Starts another program without waiting for it, not even for the disk that it is read from."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

_NOT_FOUND: Final = 127
_TOLD_TO_END: Final = frozenset({signal.SIGTERM})
# What systemd tells this process is not for others.
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
    """Run `python -m MODULE GIVEN` with nothing open but stderr and `sockets`, and return its process id. GIVEN is
    JSON: `given`, `sockets` and as `parent` this process's id. Raises OSError."""
    arguments = json.dumps({**given, **sockets, "parent": os.getpid()})
    # An action that has a descriptor take its own place makes it one that is inherited.
    kept = [(os.POSIX_SPAWN_DUP2, number, number) for number in sockets.values()]
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1)]
    command = [sys.executable, "-I", "-m", module, arguments]
    return os.posix_spawn(sys.executable, command, {}, file_actions=[*null, *kept])


def start(command: Sequence[str], facts: Mapping[str, str], limit: float) -> tuple[int, int]:
    """Run `command` with `facts` in its environment, in a session of its own, with nothing open but what it writes;
    return its process id and the descriptor, which doesn't block, to read that from.

    It is ended by SIGALRM a while after `limit` seconds if this process has gone by then. Raises OSError where no
    process is to be had; a program that can't be run says so and ends with status 127.
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
    """fork(2); in the child SIGTERM is held back: a handler of ours would swallow it, and the command run on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD_TO_END)
    pid = None
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD_TO_END)
    return pid


def _child(command: list[str], environment: dict[str, str], output: int, limit: float) -> NoReturn:
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        # Python ignores the last two, and what is ignored stays so in another program.
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD_TO_END)
        signal.alarm(int(limit) + 5)
        os.execve(command[0], command, environment)
    except OSError as error:
        os.write(2, f"{command[0]} can't be run: {error.strerror}\n".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(_NOT_FOUND)
