"""Forks the workers: a process that is forked from the supervisor before that knows any file, and then does nothing
else.

Of each page that a process writes to, a child that it forked before has a copy of its own. The supervisor
writes to most of its pages every second, and the more files there are the more pages; this process
writes to few. Its children are the supervisor's (CLONE_PARENT), which is told of their ends.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NoReturn

from supervisor.spawn import Child, as_child, fork, reopened
from workers import channel, process
from workers.libc import clone_sibling

_log = logging.getLogger("filemapd.supervisor")

# A request holds the keys of retirements that were cut short; of a file with 10,000 regions some 300 kB.
_LARGEST: Final = 1024 * 1024
_PATIENCE: Final = 2.0
_ANSWER: Final = struct.Struct("=i")

Labels = dict[str, Any]
"""What a worker's log records say of its file."""


class ForkServer:
    """The supervisor's end. `keep` are the descriptors that every worker has beside stdio and its own; `label` is
    called in each worker first."""

    def __init__(self, keep: Callable[[], Iterable[int]], label: Callable[[Labels], None]) -> None:
        self._keep = keep
        self._label = label
        self._end: socket.socket | None = None
        self._pid = 0

    def start(self) -> None:
        """Fork it; the smaller the supervisor then is the better. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        ours.settimeout(_PATIENCE)
        keep, supervisor = set(self._keep()), os.getpid()
        try:
            self._pid = fork({theirs.fileno(), *keep}, lambda: _serve(theirs, keep, self._label, supervisor))
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._end = ours

    def spawn(self, job: process.Job, labels: Labels) -> Child:
        """Have a worker forked for `job`, whose `fd` may be open with O_PATH; one that serves no more is replaced.

        Raises OSError where no process or socket is to be had.
        """
        ours, theirs = channel.pair()
        try:
            return Child(self._ask(job, labels, theirs), ours)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    def _ask(self, job: process.Job, labels: Labels, theirs: channel.Channel) -> int:
        request = pickle.dumps((job, labels, logging.getLogger().level))
        descriptors = [theirs.fileno()] if job.fd is None else [theirs.fileno(), job.fd]
        try:
            answer = self._exchange(request, descriptors)
        except OSError as error:
            _log.warning("the process that forks workers serves no more (%s): another is started", error)
            self.close()
            answer = self._exchange(request, descriptors)
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer

    def _exchange(self, request: bytes, descriptors: list[int]) -> int:
        if self._end is None:
            self.start()
        assert self._end is not None  # noqa: S101 - start() raises where it has none
        socket.send_fds(self._end, [request], descriptors)
        answer = self._end.recv(_ANSWER.size)
        if len(answer) != _ANSWER.size:
            raise ConnectionResetError("it has ended")
        return int(_ANSWER.unpack(answer)[0])

    def close(self) -> None:
        """End it; the workers stay."""
        if self._end is None:
            return
        self._end.close()
        self._end = None
        try:
            os.kill(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # reaped already


def _serve(end: socket.socket, keep: set[int], label: Callable[[Labels], None], supervisor: int) -> NoReturn:
    """Fork a worker for each request, until the supervisor has gone."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(end, _LARGEST, 2)
        if not request:
            os._exit(0)
        try:
            pid = clone_sibling()
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            as_child({*descriptors, *keep}, partial(_work, request, descriptors, label), supervisor)
        for descriptor in descriptors:
            os.close(descriptor)
        end.send(_ANSWER.pack(pid))


def _work(request: bytes, descriptors: list[int], label: Callable[[Labels], None]) -> int:
    own, *files = descriptors
    job, labels, level = pickle.loads(request)  # noqa: S301 - of the supervisor's own memory
    logging.getLogger().setLevel(level)
    label(labels)
    end = channel.Channel(socket.socket(fileno=own))
    return int(process.run(end, job.with_fd(reopened(files[0]) if files else None)))
