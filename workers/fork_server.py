"""python -m workers.fork_server SETTINGS: forks the workers of the supervisor that started it.

It is a separate program: it imports what workers need and does nothing else, so most of its memory stays shared with
them. A page that it writes to after a fork is copied for the child. The workers are children of the supervisor
(CLONE_PARENT), which reaps them.

SETTINGS is JSON: `requests` and `log`, the descriptors of the sockets for requests and for log records, and
`parent`, the supervisor's process id. A request is a pickle of a job.Job, the labels of the file's log records, and
their lowest level. The descriptors of the worker's end of its channel and, where the file is open already, of the
file come with it. The response is the worker's process id, or a negative error number. The first response, 0, is
sent without a request, as soon as requests are served.
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
RESPONSE: Final = struct.Struct("=i")


def _serve(requests: socket.socket, log: socket.socket, supervisor: int) -> NoReturn:
    """Fork a worker for each request, until the supervisor has gone."""
    keep = {log.fileno(), *_control()}
    requests.send(RESPONSE.pack(0))
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
        requests.send(RESPONSE.pack(pid))


def _control() -> list[int]:
    """Return the descriptor of device-mapper's control node, if it can be opened now: else each worker tries."""
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
