"""The table of a run: the faults, how long until everything was right again, and what was lost."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

_HEAD: Final = ("FAULT", "MADE", "RIGHT AFTER, MEDIAN S", "MAX S", "OTHERS WAITED, MAX S", "LOST")


@dataclass(slots=True)
class Made:
    """The results of one kind of fault, in seconds."""

    right_after: list[float] = field(default_factory=list)
    others_waited: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """The results of a run."""

    faults: dict[str, Made] = field(default_factory=lambda: defaultdict(Made))
    changes: int = 0
    reads: int = 0
    writes: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def passed(self) -> bool:
        """Whether nothing was lost."""
        return not any(made.lost for made in self.faults.values())

    def table(self) -> str:
        """Return the table as text."""
        rows = [_HEAD, *(_row(name, made) for name, made in sorted(self.faults.items()))]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]
            )
            for row in rows
        ]
        made = sum(len(made.right_after) + len(made.lost) for made in self.faults.values())
        lost = [text for made in self.faults.values() for text in made.lost]
        end = (
            f"{made} faults in {time.monotonic() - self.began:.0f} s, under {self.changes} changes, "
            f"{self.reads} reads and {self.writes} writes: lost {', '.join(lost) or 'nothing'}"
        )
        return "\n".join([*lines, "", end])


def _row(name: str, made: Made) -> tuple[str, ...]:
    after, waited = made.right_after, made.others_waited
    return (
        name,
        str(len(after) + len(made.lost)),
        f"{statistics.median(after):.1f}" if after else "-",
        f"{max(after):.1f}" if after else "-",
        f"{max(waited):.1f}" if waited else "-",
        ", ".join(made.lost) or "nothing",
    )
