"""Linux system calls missing from Python's library. The only module of the sandbox with ctypes and ioctls."""

import ctypes  # noqa: TID251 - this module is for it
import fcntl  # noqa: TID251 - likewise
import os
import platform
import socket
import struct

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_MOVE = 0x2000
MNT_DETACH = 0x2

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_INTERFACE = struct.Struct("16sH14x")
_PR_SET_CHILD_SUBREAPER = 36
_REBOOT_MAGIC1, _REBOOT_MAGIC2 = 0xFEE1DEAD, 672274793
_REBOOT_POWER_OFF = 0x4321FEDC
# libc wraps neither of these two.
_NUMBERS = {"x86_64": {"finit_module": 313, "reboot": 169}, "aarch64": {"finit_module": 273, "reboot": 142}}

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _syscall(name: str, *arguments: object) -> int:
    number = _NUMBERS[platform.machine()][name]
    return int(_libc.syscall(ctypes.c_long(number), *arguments))


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError with the mount in its message."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            os.fsencode(data) or None,
        ),
        f"mount of {kind or source} on {target}",
    )


def detach(target: str) -> None:
    """Detach a mount from the tree; open files in it stay usable. Raises OSError."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount of {target}")


def sync_filesystem(fd: int) -> None:
    """Write out only the file system of fd. Raises OSError."""
    _check(_libc.syncfs(fd), "syncfs")


def insert_module(path: str, parameters: str) -> None:
    """Load a kernel module from a file. Raises OSError, FileExistsError if it is loaded already."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(
            _syscall("finit_module", ctypes.c_int(fd), parameters.encode(), ctypes.c_int(0)),
            f"loading {path}",
        )
    finally:
        os.close(fd)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan among its descendants. Raises OSError."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0))), "prctl")


def raise_interface(name: str) -> None:
    """Bring a network interface up. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        reply = fcntl.ioctl(sock, _SIOCGIFFLAGS, _INTERFACE.pack(name.encode(), 0))
        flags: int = _INTERFACE.unpack(reply)[1]
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _INTERFACE.pack(name.encode(), flags | _IFF_UP))


def power_off() -> None:
    """Power off this machine at once, without writing anything out. Raises OSError."""
    _check(
        _syscall(
            "reboot",
            ctypes.c_uint(_REBOOT_MAGIC1),
            ctypes.c_uint(_REBOOT_MAGIC2),
            ctypes.c_uint(_REBOOT_POWER_OFF),
            None,
        ),
        "reboot",
    )
