"""The one call of the C library that Python lacks: prctl(2)."""

from __future__ import annotations

import ctypes  # noqa: TID251 - prctl(2) has no other way
import errno
import os
import signal
from itertools import count

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end it now where `parent` has gone already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, "PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        os._exit(1)


def no_new_privileges() -> None:
    """Have no program that this process executes get more privileges than it has itself. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, "PR_SET_NO_NEW_PRIVS")


def no_capabilities() -> None:
    """Have no program that this process executes get any capability, whoever it belongs to; what is had now stays.
    Takes CAP_SETPCAP. Raises OSError."""
    for number in count():
        try:
            _prctl(_PR_CAPBSET_DROP, number, "PR_CAPBSET_DROP")
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # there are no more


def _prctl(option: int, value: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({name})")
