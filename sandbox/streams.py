"""The host's end of a guest's output: copies it as it arrives and retains the end of the console."""

import os
import queue
import select
import socket
import threading
from collections.abc import Callable

from sandbox.job import READY

_CHUNK = 65536
_CONSOLE_BYTES = 65536
_CONSOLE_LINES = 40


class Copy(threading.Thread):
    """Copies a socket, which it closes, to a descriptor until its end, and counts the bytes."""

    def __init__(self, source: socket.socket, target: int, reader_gone: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.count = 0
        self.error: OSError | None = None
        self._source = source
        self._target = target
        self._reader_gone = reader_gone
        self.start()

    def run(self) -> None:
        while data := _read(self._source):
            self.count += len(data)
            if self.error is not None:
                continue  # read on, or the guest would block forever
            try:
                _write_all(self._target, data)
            except OSError as error:
                self.error = error
                self._reader_gone()
        self._source.close()


class Control(threading.Thread):
    """Sends lines to the guest's agent; earlier lines are sent once it listens."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__(daemon=True)
        self._line = line
        # Reentrant, as a signal handler may interrupt its thread anywhere.
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.start()

    def send(self, text: str) -> None:
        """Send without blocking. Errors are ignored: a guest that does not read has ended."""
        self._waiting.put(text)

    def run(self) -> None:
        if _read(self._line) == READY:
            while (text := self._waiting.get()) is not None:
                try:
                    self._line.sendall(text.encode() + b"\n")
                except OSError:
                    break
        self._line.close()

    def close(self) -> None:
        """End the thread, once the guest is gone."""
        self._waiting.put(None)
        self.join()


class Console(threading.Thread):
    """Reads the guest's console to its end and retains the last lines."""

    def __init__(self, source: socket.socket) -> None:
        super().__init__(daemon=True)
        self._source = source
        self._kept = bytearray()
        self.start()

    def run(self) -> None:
        while data := _read(self._source):
            self._kept += data
            del self._kept[:-_CONSOLE_BYTES]
        self._source.close()

    def tail(self) -> str:
        """The last lines, without control sequences."""
        lines = self._kept.decode(errors="replace").splitlines()
        return "\n".join(line.rstrip() for line in lines[-_CONSOLE_LINES:])


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:  # another process that shares it made it non-blocking
            select.select([], [target], [])


def _read(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except ConnectionResetError:  # killed with input it had not read
        return b""
