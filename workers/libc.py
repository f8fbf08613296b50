"""What of the kernel Python lacks: prctl(2), capset(2), munmap(2), openat2(2), and clone(2) with CLONE_PARENT."""

from __future__ import annotations

import ctypes  # noqa: TID251 - these calls have no other way
import errno
import os
import signal
import struct
from collections.abc import Collection
from itertools import count

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3 of linux/capability.h
_CAPABILITIES = struct.Struct("=6I")
_CLONE_PARENT = 0x8000
# Of machines whose clone(2) has the flags first. Not clone3(2): systemd's RestrictNamespaces= has it fail, as a
# filter can't see its flags.
_SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220, "ppc64le": 120}

# The same on all machines but Alpha.
_SYS_OPENAT2 = 437
_RESOLVE_CACHED = 0x20
_OPEN_HOW = struct.Struct("=3Q")
_AT_FDCWD = -100
# A sweep calls it for each file that is waited for.
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end it now where `parent` has gone already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, "PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        os._exit(1)


def no_new_privileges() -> None:
    """Deny programs that this process executes more privileges than it has. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")


def bound_capabilities(kept: Collection[int] = ()) -> None:
    """Deny programs that this process executes all capabilities but `kept`; its own stay. Needs CAP_SETPCAP. Raises
    OSError."""
    for number in count():
        try:
            if number not in kept:
                _prctl(_PR_CAPBSET_DROP, number, "PR_CAPBSET_DROP")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # there are no more


def keep_capabilities(kept: Collection[int]) -> None:
    """Give up all capabilities but those of `kept` that are had, for good. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, had = struct.pack("=Ii", _CAPABILITY_VERSION, 0), ctypes.create_string_buffer(_CAPABILITIES.size)
    if libc.capget(header, had) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    # Two halves of effective, permitted and inheritable.
    _, low, _, _, high, _ = _CAPABILITIES.unpack(had)
    mask = sum(1 << number for number in kept) & (low | high << 32)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    if libc.capset(header, _CAPABILITIES.pack(low, low, 0, high, high, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def clone_sibling() -> int:
    """Fork a child whose parent is this process's parent; return its pid, 0 in the child. For a process of one
    thread. Raises OSError.

    os.fork() does more, which a process of one thread doesn't need (no other thread holds a lock), and writes to half
    a megabyte of shared memory.
    """
    number = _SYS_CLONE.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"clone(2) of {os.uname().machine} is not known")
    # PyDLL keeps the interpreter's lock over the call, as os.fork() does.
    words = map(ctypes.c_long, (number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
    pid = int(ctypes.PyDLL(None, use_errno=True).syscall(*words))
    if pid < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return pid


def unmap(start: int, length: int) -> None:
    """Unmap these addresses, which nothing may use. Raises OSError."""
    if ctypes.CDLL(None, use_errno=True).munmap(ctypes.c_void_p(start), ctypes.c_size_t(length)) != 0:
        raise OSError(ctypes.get_errno(), "munmap")


def open_cached(path: str, flags: int = 0) -> int:
    """Open a path with O_PATH and `flags` from the kernel's cache, without waiting for a disk or a server. Before
    Linux 5.12 it waits.

    Raises OSError; BlockingIOError where the cache doesn't have the path.
    """
    flags |= os.O_PATH | os.O_CLOEXEC
    how = _OPEN_HOW.pack(flags, 0, _RESOLVE_CACHED)
    words = (ctypes.c_long(_SYS_OPENAT2), ctypes.c_long(_AT_FDCWD), os.fsencode(path), how)
    fd = int(_LIBC.syscall(*words, ctypes.c_size_t(len(how))))
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number in {errno.ENOSYS, errno.EINVAL}:
        return os.open(path, flags)
    raise OSError(number, os.strerror(number), path)


def _prctl(option: int, value: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({name})")
