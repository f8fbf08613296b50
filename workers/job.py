"""The job of a worker, as the supervisor gives it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from dmstats.mode import FilemapdMode
from workers.group_finder import GroupSettings, KnownGroup


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker does.

    `fd` is open on the file where the supervisor has it already. `pending` are the keys of retirements that a
    predecessor did not finish. `delete`: the group of a file that is gone is deleted.
    """

    path: str
    mode: FilemapdMode
    settings: GroupSettings
    known: KnownGroup = field(default_factory=KnownGroup)
    fd: int | None = None
    pending: tuple[str, ...] = ()
    delete: bool = True
    within: str | None = None
    """The directory in which the file was found; None for a file that is listed itself (FollowedFile)."""

    def with_fd(self, fd: int | None) -> Job:
        """Return the job with the file open at another descriptor."""
        return replace(self, fd=fd)
