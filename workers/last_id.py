"""The last known id of a file's group, and the reason for another one."""

from __future__ import annotations

from dataclasses import replace

from dmstats.moves import Move


class LastId:
    """`last` is the id at the start; None where there was no group."""

    def __init__(self, last: int | None) -> None:
        self._last = last
        self._reason = "the group had gone"

    def lost(self, why: str) -> None:
        """Note why the group, or part of it, has gone."""
        self._reason = why

    def update(self, group_id: int | None) -> None:
        """Note the group's present id; None where there is no group, as the file is empty."""
        if group_id is None:
            self.lost("the file was empty")
        else:
            self._last = group_id

    def explain(self, move: Move, *, replaced: bool) -> Move | None:
        """Return `move` with its reason; None where the group gets its first id, or the id that it had.

        `replaced`: another file has come to the path since the group was last in step.
        """
        if self._last is None or move.new == (self._last if move.old is None else move.old):
            return None
        if move.old is None:
            return replace(move, reason=self._reason)
        return replace(move, reason="another file is at the path") if replaced else move
