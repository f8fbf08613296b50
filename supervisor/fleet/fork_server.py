"""Workers, by way of the process that forks them (workers/fork_server.py)."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from supervisor.runtime import execute
from workers import channel, worker
from workers.fork_server import ANSWER, LARGEST

_log = logging.getLogger("filemapd.supervisor")

# What it takes to import all that a worker needs, on a host that is busy with other things.
_START: Final = 30.0
_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Child:
    """A worker process and our end of its channel."""

    pid: int
    channel: channel.Channel


class ForkServer:
    """The supervisor's end of it. `log_end` is the descriptor for log records of workers."""

    def __init__(self, log_end: int) -> None:
        self._log_end = log_end
        self._end: socket.socket | None = None
        self._pid = 0
        self._ready = False

    def start(self) -> None:
        """Start it, without a wait until it serves. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        try:
            sockets = {"requests": theirs.fileno(), "log": self._log_end}
            self._pid = execute.start_module("workers.fork_server", {}, sockets)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._end, self._ready = ours, False

    def spawn(self, job: worker.Job, labels: Mapping[str, object]) -> Child:
        """Have a worker forked for `job`, whose `fd` may be open with O_PATH and whose log records bear `labels`; a
        server that serves no more is replaced.

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

    def _ask(self, job: worker.Job, labels: Mapping[str, object], theirs: channel.Channel) -> int:
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
        if not self._ready:
            self._answer(self._end, _START)
            self._ready = True
        socket.send_fds(self._end, [request], descriptors)
        return self._answer(self._end, _PATIENCE)

    @staticmethod
    def _answer(end: socket.socket, patience: float) -> int:
        end.settimeout(patience)
        answer = end.recv(ANSWER.size)
        if len(answer) != ANSWER.size:
            raise ConnectionResetError("it has ended")
        return int(ANSWER.unpack(answer)[0])

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
