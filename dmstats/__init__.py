"""The kernel's side of filemapd: dm_stats messages, group tags, FIEMAP, and the API after libdm's.

Sectors are 512 bytes, times nanoseconds, ids the kernel's region ids.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dmstats.device import Device
    from dmstats.filemap import create_regions_from_fd, start_filemapd, update_regions_from_fd
    from dmstats.mode import FilemapdMode

__all__ = ["Device", "FilemapdMode", "create_regions_from_fd", "start_filemapd", "update_regions_from_fd"]

_HOMES: Final = {
    "Device": "dmstats.device",
    "FilemapdMode": "dmstats.mode",
    "create_regions_from_fd": "dmstats.filemap",
    "start_filemapd": "dmstats.filemap",
    "update_regions_from_fd": "dmstats.filemap",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that a program loads only the modules it needs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
