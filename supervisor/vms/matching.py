"""Decides which virtual machine a file belongs to, if several sources or machines claim it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from supervisor.text.display import display

Identity = tuple[int, int]
"""A file's device and inode."""

_LONGEST = 255


class Source(IntEnum):
    """The source of a claim, the most reliable first."""

    RUNNING = 0
    """A machine that libvirt runs."""
    PROCESS = 1
    """A QEMU process has it open."""
    DEFINED = 2
    """A machine that libvirt could start."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that a file is a machine's `disk`, or the `backing` of one."""

    identity: Identity
    name: str
    uuid: str | None
    role: str
    source: Source


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of a file. Its name, which others choose, is made printable. `others` is the number of other
    machines that have the file, such as a common backing file."""

    name: str
    uuid: str | None
    role: str
    others: int

    def as_status(self) -> dict[str, Any]:
        """Return the key `vm` of the status."""
        return {"name": self.name, "uuid": self.uuid, "role": self.role, "others": self.others}


def choose(claims: Iterable[Claim]) -> dict[Identity, Machine]:
    """Return the machine of each claimed file: by the best source, then disk before backing file, then by name."""
    by_file: defaultdict[Identity, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_file[claim.identity].append(claim)
    return {identity: _best(found) for identity, found in by_file.items()}


def _best(claims: list[Claim]) -> Machine:
    source = min(claim.source for claim in claims)
    best = [claim for claim in claims if claim.source is source]
    first = min(best, key=lambda claim: (claim.role != "disk", claim.name, claim.uuid or ""))
    machines = {(claim.name, claim.uuid) for claim in best}
    uuid = None if first.uuid is None else display(first.uuid)[:_LONGEST]
    return Machine(display(first.name)[:_LONGEST], uuid, first.role, len(machines) - 1)
