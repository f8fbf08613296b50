"""Reports what a reconcile found, and where the regions lie, if the supervisor doesn't know it yet."""

from __future__ import annotations

from dataclasses import asdict

from dmstats.reconcile import NOTHING
from workers import messages
from workers.followed_file import FollowedFile
from workers.placement import Placement, place
from workers.reconciler import Reconciler, Result
from workers.supervisor_link import SupervisorLink


class Reports:
    """Remembers what was reported last."""

    def __init__(self, link: SupervisorLink, file: FollowedFile, reconciler: Reconciler) -> None:
        self._link = link
        self._file = file
        self._reconciler = reconciler
        self._outcome = NOTHING
        self.placement: Placement | None = None
        """The reported pieces; None while waiting."""
        self.is_mapped = False
        """Whether the last report was that the file is mapped."""

    def waiting(self, reason: str) -> None:
        """Report that there is nothing to map."""
        self._link.send(messages.Waiting(reason))
        self.is_mapped = False
        self.placement = None

    def file_opened(self) -> None:
        """Report the file that is open."""
        fd, file = self._file.opened()
        self._link.send(messages.FileOpened(file.dev, file.inode, file.generation, fd))

    def result(self, result: Result) -> None:
        """Report the result of a reconcile."""
        self._mapped(result)
        if result.outcome is not None:
            self._placed()

    def _mapped(self, result: Result) -> None:
        reconciler, outcome = self._reconciler, result.outcome
        if outcome is not None:
            self._outcome = outcome
        last = self._outcome
        group = None
        if reconciler.group_id is not None and reconciler.spec is not None:
            group = {"group_id": reconciler.group_id, **asdict(reconciler.spec)}
        self._link.send(
            messages.Mapped(
                group=group,
                tag=reconciler.tag,
                extents=last.extents,
                regions=len(last.members),
                uncovered_bytes=last.uncovered_bytes,
                excess_bytes=last.excess_bytes,
                size_bytes=last.size_bytes,
                degraded=str(last.failure) if last.failure is not None else last.limit,
                changed=outcome is not None and bool(outcome.created or outcome.retired),
                refused=outcome is not None and outcome.failure is not None,
                landing=result.landing,
                joinable=reconciler.joinable,
            )
        )
        self.is_mapped = True

    def _placed(self) -> None:
        """Report where the regions lie, if that has changed."""
        now = place(self._reconciler.members)
        if now != self.placement:
            self.placement = now
            self._link.send(messages.Placed(list(now.starts), list(now.lengths)))
