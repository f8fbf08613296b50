"""One file to follow, as the configuration and the directories select it."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor.config.models import FileOptions


@dataclass(frozen=True, slots=True)
class FilemapSpec:
    """A file that a worker shall follow."""

    name: str
    """Unique in the fleet, printable: the basename, or as much more of the path as it takes."""
    path: str
    options: FileOptions
    group_id: int | None
    """The group to adopt, None to make one."""
    alias: str | None
    source: str
    """The configuration's key that asks for it: filemaps[0], directories[1]."""
    directory: str | None = None
    """The directory's path where that is one."""
