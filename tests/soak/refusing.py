"""Makes the kernel refuse device-mapper messages. This kernel has no fault injection, so seccomp does it
(seccomp_unotify(2)): filemapd runs unchanged, and each of its calls of that ioctl waits for a process here to
decide whether the kernel executes or fails it.

The wrapper that runs filemapd: `python -m tests.soak.refusing SOCKET COMMAND...`.
"""

from __future__ import annotations

import contextlib
import ctypes  # noqa: TID251 - prctl(2) and seccomp(2) have no other way
import fcntl  # noqa: TID251 - the responses are ioctls
import mmap
import multiprocessing
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Final

from dmstats.ioctl import DM_TARGET_MSG
from tests.kernel.running import FILEMAPD

_SYS_SECCOMP: Final = 317  # of x86_64, as is the number of ioctl(2) below
_SYS_IOCTL: Final = 16
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 1 << 3
_RET_ALLOW: Final = 0x7FFF0000
_RET_USER_NOTIF: Final = 0x7FC00000
# struct seccomp_data: nr at 0, the low word of the second argument at 24 (linux/seccomp.h); BPF of linux/filter.h.
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_FILTER: Final = (
    (_LOAD, 0, 0, 0),
    (_JUMP_EQUAL, 0, 3, _SYS_IOCTL),
    (_LOAD, 0, 0, 24),
    (_JUMP_EQUAL, 0, 1, DM_TARGET_MSG),
    (_RETURN, 0, 0, _RET_USER_NOTIF),
    (_RETURN, 0, 0, _RET_ALLOW),
)
_NOTIF: Final = struct.Struct("=QII iIQ 6Q")  # id, pid, flags; nr, arch, ip, six arguments
_RESPONSE: Final = struct.Struct("=QqiI")  # id, val, error, flags
_NOTIF_RECV: Final = 0xC0502100
_NOTIF_SEND: Final = 0xC0182101
_CONTINUE: Final = 1
_ORDER: Final = struct.Struct(
    "=IIQ"
)  # the errno, 0 for none; one of how many messages is refused; how many were
_fork = multiprocessing.get_context("fork")


class Refuser:
    """Decides for all filemapds that program() runs. Initially nothing is refused."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._order = mmap.mmap(-1, mmap.PAGESIZE)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self._process = _fork.Process(target=_serve, args=(listener, self._order, seed), daemon=True)
        self._process.start()
        listener.close()

    def program(self) -> tuple[str, ...]:
        """Return the command that wraps filemapd."""
        return (sys.executable, "-m", "tests.soak.refusing", str(self._path), *FILEMAPD)

    @contextlib.contextmanager
    def refusing(self, errno: int, one_of: int) -> Iterator[None]:
        """Refuse one of `one_of` messages on average while the context lasts."""
        _, _, before = _ORDER.unpack_from(self._order, 0)
        _ORDER.pack_into(self._order, 0, errno, one_of, before)
        try:
            yield
        finally:
            _ORDER.pack_into(self._order, 0, 0, 1, self.refused())

    def refused(self) -> int:
        """Return the number of refused messages."""
        count: int = _ORDER.unpack_from(self._order, 0)[2]
        return count

    def end(self) -> None:
        """End the process; a running filemapd can send no more messages."""
        self._process.kill()
        self._process.join()


def _serve(listener: socket.socket, order: mmap.mmap, seed: int) -> None:
    rng, waiting = Random(seed), select.poll()
    waiting.register(listener, select.POLLIN)
    while True:
        for fd, events in waiting.poll():
            if fd == listener.fileno():
                end, _ = listener.accept()
                _, received, _, _ = socket.recv_fds(end, 1, 1)
                end.close()
                waiting.register(received[0], select.POLLIN)
            elif events & select.POLLIN:
                # The call of a killed process no longer exists.
                with contextlib.suppress(OSError):
                    _respond(fd, order, rng)
            else:
                waiting.unregister(fd)
                os.close(fd)


def _respond(fd: int, order: mmap.mmap, rng: Random) -> None:
    buffer = bytearray(_NOTIF.size)
    fcntl.ioctl(fd, _NOTIF_RECV, buffer)
    number, *_ = _NOTIF.unpack(buffer)
    errno, one_of, refused = _ORDER.unpack_from(order, 0)
    if errno and rng.randrange(one_of) == 0:
        _ORDER.pack_into(order, 0, errno, one_of, refused + 1)
        response = _RESPONSE.pack(number, 0, -errno, 0)
    else:
        response = _RESPONSE.pack(number, 0, 0, _CONTINUE)
    fcntl.ioctl(fd, _NOTIF_SEND, bytearray(response))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _install() -> int:
    """Install the filter for this process and its descendants; return the descriptor of its listener."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER)
    program = _Program(len(_FILTER), code)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.syscall(_SYS_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program)))
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
    return fd


def main(words: Sequence[str]) -> None:
    """Install the filter, send its listener to the socket and execute the command."""
    path, *command = words
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(path)
        listener = _install()
        socket.send_fds(end, [b"x"], [listener])
        os.close(listener)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
