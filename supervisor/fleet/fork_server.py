"""The supervisor's client of the fork server (workers/fork_server.py), which forks the workers."""

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
from workers import channel
from workers.fork_server import LARGEST, RESPONSE
from workers.job import Job

_log = logging.getLogger("filemapd.supervisor")

# Seconds to start: it imports all that a worker needs, perhaps on a busy host.
_START: Final = 30.0
_TIMEOUT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Child:
    """A worker process and our end of its channel."""

    pid: int
    channel: channel.Channel


class ForkServer:
    """Starts the fork server and sends it requests. `log_end` is the descriptor for the workers' log records."""

    def __init__(self, log_end: int) -> None:
        self._log_end = log_end
        self._end: socket.socket | None = None
        self._pid = 0
        self._ready = False

    def start(self) -> None:
        """Start it without waiting until it serves. Raises OSError."""
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

    def spawn(self, job: Job, labels: Mapping[str, object]) -> Child:
        """Fork a worker for `job` and return it. A fork server that no longer serves is replaced.

        `job.fd` may be open with O_PATH; the worker's log records carry `labels`. Raises OSError where no process or
        socket is available.
        """
        ours, theirs = channel.pair()
        try:
            return Child(self._request(job, labels, theirs), ours)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    def _request(self, job: Job, labels: Mapping[str, object], theirs: channel.Channel) -> int:
        request = pickle.dumps((job, labels, logging.getLogger().level))
        descriptors = [theirs.fileno()] if job.fd is None else [theirs.fileno(), job.fd]
        try:
            pid = self._exchange(request, descriptors)
        except OSError as error:
            _log.warning("the fork server does not respond (%s): starting another", error)
            self.close()
            pid = self._exchange(request, descriptors)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _exchange(self, request: bytes, descriptors: list[int]) -> int:
        if self._end is None:
            self.start()
        assert self._end is not None  # noqa: S101 - start() sets it or raises
        if not self._ready:
            self._response(self._end, _START)
            self._ready = True
        socket.send_fds(self._end, [request], descriptors)
        return self._response(self._end, _TIMEOUT)

    @staticmethod
    def _response(end: socket.socket, timeout: float) -> int:
        end.settimeout(timeout)
        packet = end.recv(RESPONSE.size)
        if len(packet) != RESPONSE.size:
            raise ConnectionResetError("it has ended")
        return int(RESPONSE.unpack(packet)[0])

    def close(self) -> None:
        """Kill it. The workers stay."""
        if self._end is None:
            return
        self._end.close()
        self._end = None
        try:
            os.kill(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # reaped already
