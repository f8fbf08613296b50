"""Gives up what the web process doesn't need: its user, its capabilities, the number of its descriptors."""

from __future__ import annotations

import os
import resource

from workers.libc import bound_capabilities, no_new_privileges

# The connections, several times what asyncio accepts before it has closed one too many, and its own.
_DESCRIPTORS = 1024


def drop(user: tuple[int, int] | None) -> None:
    """Become `user` (uid, gid), for good, or stay who we are where that is None.

    What is not imported and not read by now may be out of reach afterwards. Raises OSError.
    """
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    no_new_privileges()
    if user is not None:
        uid, gid = user
        bound_capabilities()
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
