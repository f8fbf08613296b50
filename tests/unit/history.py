"""A model device, a file on it, and its stored counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from dmstats.apply import Retired
from dmstats.counters import Counters
from dmstats.filemap import new_spec
from dmstats.files import FileIdentity
from dmstats.group import groups_of
from dmstats.marker import Mark, parse_mark
from dmstats.ownership import GroupSpec, find_own
from dmstats.ranges import Footprint, Range, joined
from dmstats.reconcile import Limits, Outcome, reconcile
from tests.unit.model import ModelDevice

FILE = FileIdentity(1, 12, 7)
SPEC = new_spec(FILE, alias="vm.img")
ADOPTED = replace(SPEC, userdata="mine")


def gone(_mark: Mark) -> bool:
    """Report that the maker is gone."""
    return True


class Kept:
    """Retired counters as in a file's ledger, over kills: intended counters count once their region is
    gone."""

    def __init__(self, device: ModelDevice) -> None:
        self.device = device
        self.reads = 0
        self.intended: dict[str, Counters] = {}

    def before_delete(self, retired: Sequence[Retired]) -> None:
        """Store the counters; they count once their regions are gone."""
        self.intended = {one.key: one.counters for one in retired}

    def after_delete(self, retired: Sequence[Retired]) -> None:
        """Count them: the regions are gone."""
        assert {one.key for one in retired} == self.intended.keys()
        self.settle()

    def settle(self) -> None:
        """Count what was intended for regions that are gone, and discard the rest."""
        there = {f"{number}:{row.start}+{row.length}" for number, row in self.device.rows.items()}
        self.reads += sum(one.reads for key, one in self.intended.items() if key not in there)
        self.intended = {}


def sectors(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return every sector of the ranges, repeated for overlaps."""
    return [sector for start, end in ranges for sector in range(start, end)]


PLACES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=6
).map(joined)


def has_group(device: ModelDevice, files: Sequence[FileIdentity]) -> bool:
    """Return whether a group bears the mark of one of the files."""
    marks = [parse_mark(g.tag.userdata) for g in groups_of(device.list().regions).values()]
    return any(mark is not None and mark.names(file) for mark in marks for file in files)


def look(
    device: ModelDevice,
    ranges: Sequence[Range],
    ledger: Kept | None = None,
    *,
    join: bool = False,
    spec: GroupSpec = SPEC,
) -> Outcome:
    """Reconcile the group of FILE with its ranges."""
    table = device.table()
    own = find_own(table.regions(), [FILE], known=range(len(table)), spec=spec, left_behind=gone)
    where = Footprint(tuple(ranges), len(ranges), 0, landing=False)
    return reconcile(
        device,
        FILE,
        where,
        table,
        own,
        spec,
        limits=Limits(),
        retirement=ledger or Kept(device),
        join=join,
    )
