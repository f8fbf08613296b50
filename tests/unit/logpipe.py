"""A log that goes to a pipe, and processes that log to it."""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from supervisor.config.models import Log
from supervisor.service.log_pipe import LogPipe
from workers import log_records


class Output:
    """A pipe for stderr, and its reader."""

    def __init__(self) -> None:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self.reader = os.fdopen(read, "rb", buffering=0)
        self.writer = os.fdopen(write, "w")

    def lines(self) -> list[str]:
        """Return the lines written since the last call."""
        content = b""
        while data := self.reader.read(1 << 20):
            content += data
        return content.decode().splitlines()

    def close(self) -> None:
        """Close both ends."""
        self.reader.close()
        self.writer.close()


@contextmanager
def logging_to(stream: TextIO, **config: Any) -> Iterator[LogPipe]:
    """Send the log to `stream` while the context lasts."""
    pipe = LogPipe(Log(**config), stream)
    try:
        yield pipe
    finally:
        pipe.close()


def fork(pipe: LogPipe, work: Callable[[], object], **labels: object) -> int:
    """Run `work` in a child that logs to the pipe only, and exits without pytest's cleanup. Return its
    pid."""
    pid = os.fork()
    if pid == 0:
        try:
            os.close(pipe.fileno())
            log_records.install(socket.socket(fileno=pipe.sender_fd), logging.root.level, labels)
            work()
        finally:
            os._exit(0)
    return pid


def wait(pid: int) -> None:
    """Wait for a child's end."""
    os.waitpid(pid, 0)


def records(pipe: LogPipe, output: Output, done: Callable[[list[str]], bool]) -> list[str]:
    """Drain the pipe into a list of lines until `done(lines)`."""
    lines: list[str] = []
    deadline = time.monotonic() + 60
    while not done(lines):
        assert time.monotonic() < deadline, lines[-5:]
        select.select([pipe], [], [], 0.01)
        pipe.drain(100)
        lines += output.lines()
    return lines


def message(line: str) -> str:
    """Return a text line without time, level and process."""
    return line.split("]: ", 1)[1]
