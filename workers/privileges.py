"""Gives up what workers don't need of root's privileges."""

from __future__ import annotations

import errno

from workers.libc import bound_capabilities, keep_capabilities, no_new_privileges

# Of linux/capability.h.
_CAP_DAC_READ_SEARCH = 2  # to open images of any owner
_CAP_SYS_ADMIN = 21  # device-mapper asks for it at every message
_CAP_LEASE = 28  # to see whether another process has an image open
_KEPT = frozenset({_CAP_DAC_READ_SEARCH, _CAP_SYS_ADMIN, _CAP_LEASE})


def drop() -> None:
    """Drop all capabilities but those that a worker needs, for this process and its children. Raises OSError."""
    no_new_privileges()
    try:
        bound_capabilities(_KEPT)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # Without CAP_SETPCAP, as in a container: executing a program doesn't gain the others either.
    keep_capabilities(_KEPT)
