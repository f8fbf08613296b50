"""The peer: lvm2's dmfilemapd, and the libdevmapper it runs on, called in this process."""

from __future__ import annotations

import ctypes  # noqa: TID251 - the peer's library has no other way in
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LIBRARY: Final = re.compile(r"libdevmapper\S* => (/\S+)")
_NO_MORE: Final = 2**64 - 1  # DM_STATS_GROUP_NOT_PRESENT, which ends a list of ids


class PeerError(Exception):
    """The peer is missing or failed. The message holds the reason."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A dmfilemapd and its library."""

    program: Path
    library: Path
    version: str


def find_peer(program: Path) -> Peer:
    """Return the dmfilemapd at that path. Raises PeerError if it is none, or has no libdevmapper of its own."""
    if not os.access(program, os.X_OK):
        raise PeerError(f"{program} is no program: --peer takes the path of lvm2's dmfilemapd")
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    found = _LIBRARY.search(linked)
    if found is None:
        raise PeerError(f"{program} finds no libdevmapper: name its folder in LD_LIBRARY_PATH")
    library = Path(found[1])
    # A name without a folder would be looked for in PATH, where there is another dmfilemapd: ours.
    return Peer(program.absolute(), library, _version(_loaded(library)))


def _loaded(library: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(library))
    lib.dm_stats_create.restype = ctypes.c_void_p
    for name in ("dm_stats_create_regions_from_fd", "dm_stats_update_regions_from_fd"):
        getattr(lib, name).restype = ctypes.POINTER(ctypes.c_uint64)
    return lib


def _version(lib: ctypes.CDLL) -> str:
    buffer = ctypes.create_string_buffer(64)
    lib.dm_get_library_version(buffer, ctypes.c_size_t(len(buffer)))
    return buffer.value.decode()


class PeerStats:
    """dm_stats of one device, as the peer does it."""

    def __init__(self, peer: Peer, fd: int) -> None:
        self._lib = _loaded(peer.library)
        dev = os.fstat(fd).st_dev
        self._handle = ctypes.c_void_p(self._lib.dm_stats_create(b"dmstats"))
        self._fd = fd
        if not self._lib.dm_stats_bind_devno(self._handle, os.major(dev), os.minor(dev)):
            raise PeerError("dm_stats_bind_devno failed")

    def create(self) -> int:
        """Map the file from nothing and return the group's id. Raises PeerError."""
        ids = self._lib.dm_stats_create_regions_from_fd(self._handle, self._fd, 1, 0, None, b"bench")
        return self._first(ids, "dm_stats_create_regions_from_fd")

    def update(self, group_id: int) -> int:
        """List and update, as dmfilemapd does on a change, and return the group's id. Raises PeerError."""
        if not self._lib.dm_stats_list(self._handle, None):
            raise PeerError("dm_stats_list failed")
        ids = self._lib.dm_stats_update_regions_from_fd(self._handle, self._fd, ctypes.c_uint64(group_id))
        return self._first(ids, "dm_stats_update_regions_from_fd")

    def close(self) -> None:
        """Free the library's memory."""
        self._lib.dm_stats_destroy(self._handle)

    @staticmethod
    def _first(ids: ctypes._Pointer[ctypes.c_uint64], what: str) -> int:
        if not ids or ids[0] == _NO_MORE:
            raise PeerError(f"{what} failed")
        return int(ids[0])


@contextmanager
def peer_stats(peer: Peer, fd: int) -> Iterator[PeerStats]:
    """The peer's functions for a file while the context lasts. Raises PeerError."""
    stats = PeerStats(peer, fd)
    try:
        yield stats
    finally:
        stats.close()
