"""python -m workers.fork_server GIVEN: forks the workers of a supervisor, which starts it, and does nothing else.

It is a program of its own: it imports what workers need and has nothing to do later on, so most of what it has in
memory stays shared with them. Of each page that a process writes to, a child that it forked before has a copy of its
own. The workers are the supervisor's children (CLONE_PARENT), which is told of their ends.

GIVEN is JSON: `requests` and `log`, the descriptors of the sockets that requests come by and log records go by, and
`parent`, the supervisor's process id. A request is a pickle of a process.Job, what log records say of its file, and
the level from which they are sent; with it come the descriptors of the worker's end of its channel and, where the
file is known already, of the file. The answer is the worker's process id, or an error number below zero. The first
answer, 0, comes unasked, as soon as requests are served.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import socket
import struct
import sys
from functools import partial
from typing import Final, NoReturn

from dmstats import ioctl
from dmstats.errors import NoDeviceMapperError, NoPermissionError
from workers import channel, privileges, worker
from workers.child import reset_signals, run_child
from workers.libc import clone_sibling, die_with_parent
from workers.log_records import install

LARGEST: Final = 1024 * 1024
"""Bytes of a request at most. It holds the keys of retirements that were cut short; of a file with 10,000 regions
some 300 kB."""
ANSWER: Final = struct.Struct("=i")


def _serve(requests: socket.socket, log: socket.socket, supervisor: int) -> NoReturn:
    """Fork a worker for each request, until the supervisor has gone."""
    keep = {log.fileno(), *_control()}
    requests.send(ANSWER.pack(0))
    while True:
        packet, descriptors, _, _ = socket.recv_fds(requests, LARGEST, 2)
        if not packet:
            sys.exit(0)
        try:
            pid = clone_sibling()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            run_child({*descriptors, *keep}, partial(_run_worker, packet, descriptors, log), supervisor)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(ANSWER.pack(pid))


def _control() -> list[int]:
    """Return the descriptor of device-mapper's control node, if it is to be had by now: else each worker tries."""
    try:
        return [ioctl.control()]
    except (NoDeviceMapperError, NoPermissionError):
        return []


def _run_worker(packet: bytes, descriptors: list[int], log: socket.socket) -> int:
    own, *files = descriptors
    job, labels, level = pickle.loads(packet)  # noqa: S301 - it comes from the supervisor
    install(log, level, labels)
    end = channel.Channel(socket.socket(fileno=own))
    return int(worker.run(end, job.with_fd(_reopen(files[0]) if files else None)))


def _reopen(fd: int) -> int | None:
    """Return a descriptor in place of `fd`, which may be O_PATH, to read the file; None where it can't be had."""
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    finally:
        os.close(fd)


def main() -> None:
    """Serve until the supervisor ends."""
    given = json.loads(sys.argv[1])
    reset_signals()
    die_with_parent(given["parent"])
    privileges.drop()
    requests, log = (socket.socket(fileno=given[name]) for name in ("requests", "log"))
    # What there is now is left alone by the garbage collector, so that it stays shared.
    gc.collect()
    gc.freeze()
    _serve(requests, log, given["parent"])


if __name__ == "__main__":
    main()
