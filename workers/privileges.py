"""Gives up what workers don't need of root's privileges."""

from __future__ import annotations

import errno

from workers.libc import bound_capabilities, keep_capabilities, no_new_privileges

# Of linux/capability.h.
_CAP_DAC_READ_SEARCH = 2  # to open images, whoever owns them and the folders above
_CAP_SYS_ADMIN = 21  # device-mapper asks for it at every message
_CAP_LEASE = 28  # whether anybody else has an image open, whoever owns it
_KEPT = frozenset({_CAP_DAC_READ_SEARCH, _CAP_SYS_ADMIN, _CAP_LEASE})


def drop() -> None:
    """Keep of the capabilities that are had only what a worker needs, in this process and its children, for good.
    Raises OSError."""
    no_new_privileges()
    try:
        bound_capabilities(_KEPT)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # Without CAP_SETPCAP, as in a container: what is not had is not regained by executing anything either.
    keep_capabilities(_KEPT)
