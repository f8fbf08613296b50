"""The id that a file's group had last, and why it is to have another."""

from __future__ import annotations

from dataclasses import replace

from dmstats.moves import Move


class LastId:
    """The id by which a file's group was last known. `last` is that at the start, None where there was none."""

    def __init__(self, last: int | None) -> None:
        self._last = last
        self._reason = "the group had gone"

    def lost(self, why: str) -> None:
        """The group is there no more, or not as it was."""
        self._reason = why

    def update(self, group_id: int | None) -> None:
        """The group has this id; None where there is no group, as the file lies nowhere."""
        if group_id is None:
            self.lost("the file was empty")
        else:
            self._last = group_id

    def explain(self, move: Move, *, replaced: bool) -> Move | None:
        """Return `move` with its reason, None where the file's group gets its first id, or that which it had.

        `replaced` says that another file has come to the path since the group was last in step.
        """
        if self._last is None or move.new == (self._last if move.old is None else move.old):
            return None
        if move.old is None:
            return replace(move, reason=self._reason)
        return replace(move, reason="another file is at the path") if replaced else move
