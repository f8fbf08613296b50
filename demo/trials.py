"""Trials during the run: a worker is killed, a group loses its leader."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from demo.filemapd import Seen
from demo.images import CELL, Image
from demo.oracle import SECTOR, OracleError, overlap, read_extents, read_regions

_DEADLINE: Final = 15.0


class Trial(ABC):
    """An action on one image's worker or group, and its expected result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = False
        self.passed: bool | None = None
        """None until it is known."""
        self._at = 0.0

    def begin(self, seen: Seen) -> str:
        """Run the action; return what was done. Raises OracleError and OSError."""
        description = self._do(seen)
        self.begun = True
        self._at = time.monotonic()
        return description

    def look(self, seen: Seen) -> str | None:
        """Return the result, None while it is pending."""
        took = time.monotonic() - self._at
        outcome = self._outcome(seen)
        if outcome is not None:
            self.passed, description = outcome
            return f"{description} after {took:.1f} s"
        if took < _DEADLINE:
            return None
        self.passed = False
        return f"{self.path.name}: nothing came of it within {took:.0f} s"

    @property
    def pending(self) -> bool:
        """Whether the action was begun and its result is not known yet."""
        return self.begun and self.passed is None

    @abstractmethod
    def _do(self, seen: Seen) -> str: ...

    @abstractmethod
    def _outcome(self, seen: Seen) -> tuple[bool, str] | None: ...


class KillWorker(Trial):
    """Its worker is killed: another takes over the same group."""

    def _do(self, seen: Seen) -> str:
        if seen.pid is None or seen.group_id is None:
            raise OracleError(f"{self.path.name} has no worker to kill: {seen.state}")
        self._before = seen
        os.kill(seen.pid, signal.SIGKILL)
        return f"{self.path.name}: worker {seen.pid} killed with SIGKILL"

    def _outcome(self, seen: Seen) -> tuple[bool, str] | None:
        if seen.state != "RUNNING" or seen.pid in (None, self._before.pid):
            return None
        # The image changes meanwhile, so the group may have moved; the status then lists the move.
        since = seen.moves[len(self._before.moves) :]
        expected = {self._before.group_id, *(new for _, new in since)}
        description = f"{self.path.name}: worker {seen.pid} took over group {seen.group_id}"
        return seen.group_id in expected and seen.restarts > self._before.restarts, description


class MoveGroup(Trial):
    """The extent under its group's leader is freed: the group continues under another id."""

    def __init__(self, image: Image, device: str) -> None:
        super().__init__(image.path)
        self._image = image
        self._device = device

    def _do(self, seen: Seen) -> str:
        self._before = seen
        leader = next((r for r in read_regions(self._device) if r.region_id == seen.group_id), None)
        if leader is None:
            raise OracleError(f"dmstats knows no region {seen.group_id}, which should lead a group")
        over = [e for e in read_extents(self.path) if overlap(e.sectors, leader.sectors)]
        for extent in over:
            start = extent.logical * SECTOR
            stop = start + len(extent.sectors) * SECTOR
            self._image.free(range(start // CELL, -(-stop // CELL)))
        size = sum(len(extent.sectors) for extent in over) * SECTOR
        return f"{self.path.name}: the {size >> 20} MiB under region {leader.region_id}, its group's leader, freed"

    def _outcome(self, seen: Seen) -> tuple[bool, str] | None:
        since = seen.moves[len(self._before.moves) :]
        if not since or seen.group_id == self._before.group_id:
            return None
        moved = since[0][0] == self._before.group_id and since[-1][1] == seen.group_id
        return moved, f"{self.path.name}: group {self._before.group_id} is now group {seen.group_id}"
