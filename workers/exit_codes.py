"""The exit statuses of a worker, by which its supervisor decides what to do (sysexits.h where one fits)."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Why a worker ended."""

    ENDED = 0  # asked to stop, or its file was unlinked and closed
    FAILED = 1  # worth another try
    ORPHANED = 3  # the supervisor has gone
    UNABLE = 69  # EX_UNAVAILABLE: the file can't be mapped where it is, trying again changes nothing
