"""The last known id of a file's group, and the reason for another one."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from dmstats.moves import Move


class LastId:
    """`last` is the id at the start; None where there was no group."""

    def __init__(self, last: int | None) -> None:
        self._last = last
        self._reason: str | None = None

    def lost(self, why: str) -> None:
        """Note why the group, or part of it, has gone."""
        self._reason = why

    def update(self, group_id: int | None) -> None:
        """Note the group's present id; None where there is no group, as the file is empty."""
        if group_id is not None:
            self._last, self._reason = group_id, None
        elif self._reason is None:
            self._reason = "the file was empty"

    def found(self, group_id: int, known: Container[int]) -> Move | None:
        """Return the move to `group_id`, which the file's group was found to have; None where it may have had it
        before: `known` are the ids of its last group."""
        if self._last in (None, group_id) or group_id in known:
            return None
        return Move(None, group_id, self._reason or "another program changed the group")

    def explain(self, move: Move, *, replaced: bool) -> Move | None:
        """Return `move` with its reason; None where the group gets its first id, or the id that it had.

        `replaced`: another file has come to the path since the last reconcile.
        """
        if self._last is None or move.new == (self._last if move.old is None else move.old):
            return None
        if move.old is None:
            return replace(move, reason=self._reason or "the group was deleted")
        return replace(move, reason="another file is at the path") if replaced else move
