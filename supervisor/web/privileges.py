"""Drops the privileges of the web process: user, capabilities, number of descriptors."""

from __future__ import annotations

import os
import resource

from workers.libc import bound_capabilities, no_new_privileges

# Enough for the connections, those accepted above the limit until they are closed, and the process's own.
_DESCRIPTORS = 1024


def drop(user: tuple[int, int] | None) -> None:
    """Switch to `user` (uid, gid) permanently. With None, keep the user.

    Afterwards, imports and reads of files may fail. Raises OSError.
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
