"""A model device on which files are followed, killed and followed again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dmstats.filemap import new_spec
from dmstats.files import FileIdentity
from dmstats.group import MAX_TAG_BYTES, groups_of, parse_tag
from dmstats.marker import file_mark, parse_mark
from dmstats.ownership import find_own, spec_of
from dmstats.ranges import Footprint, Range, joined, total
from dmstats.reconcile import UNLIMITED, Limits, Outcome, reconcile
from dmstats.region import Region
from tests.unit.history import FILE, PLACES, SPEC, Kept, gone, has_group, look, sectors
from tests.unit.model import Killed, ModelDevice

FILES = st.sampled_from([0, 1])
STRANGE_AUX = st.sampled_from(
    ["-", "x y", "DMS_GROUP=theirs:0-9#-", "filemapd.i99.g1.p1.t1", "DMS_GROUP=:1-0#"]
)


@pytest.mark.parametrize(
    ("after", "join"),
    [
        ([(0, 8), (16, 24), (40, 48)], False),
        ([(0, 8), (16, 20)], False),
        ([(16, 24), (60, 70)], False),
        ([(50, 60), (70, 80)], False),
        ([(0, 24)], True),
    ],
    ids=["grows", "shrinks", "loses its leader", "moves", "is joined"],
)
@pytest.mark.parametrize("below", [False, True])
def test_killed_after_each_message(after: list[tuple[int, int]], join: bool, below: bool) -> None:
    """After a kill at any message the file has a group, and the next run leaves one tag, on the lowest of
    exactly the regions that cover the file. With an id free below the leader's the group moves there."""
    target = joined(after)
    for fuse in range(30):
        device = ModelDevice()
        theirs = device.create(90, 5, program="theirs", aux="mine")
        look(device, [Range(0, 8), Range(16, 24)])
        if below:
            device.delete(theirs)
        device.fuse = fuse
        with contextlib.suppress(Killed):
            look(device, target, join=join)
        finished = device.fuse > 0
        device.fuse = None
        assert has_group(device, [FILE])
        outcome = look(device, target, join=join)
        ours = [r for r in device.list().regions if r.program == "dmstats"]
        assert [r.id for r in ours if r.aux.startswith("DMS_GROUP=")] == [outcome.group_id]
        assert tuple(ours) == outcome.members
        assert joined((r.start, r.end) for r in ours) == target
        assert sum(r.length for r in ours) == total(target)
        text = device.list_text()
        look(device, target, join=join)
        assert device.list_text() == text
        if finished:
            return
    pytest.fail("the run never ended")


class Followed:
    """A file on the model device."""

    def __init__(self, identity: FileIdentity, device: ModelDevice) -> None:
        self.identity = identity
        self.former: FileIdentity | None = None
        self.ranges: tuple[Range, ...] = ()
        self.ledger = Kept(device)
        self.expected = 0
        self.at_rest = True
        self.limit = UNLIMITED


class DeviceHistory(RuleBasedStateMachine):
    """Two files and another program on one device: files change, runs are killed between messages, others
    create and delete regions, and files are replaced by others on the same blocks."""

    alias = "a b"

    @initialize()
    def start(self) -> None:
        """Start with an empty device."""
        self.device = ModelDevice()
        self.files = [Followed(FileIdentity(0, 10 + n, 1), self.device) for n in range(2)]
        self.theirs: dict[int, tuple[int, int, bytes]] = {}
        self.inode = 100

    def run(self, file: Followed, limit: int, join: bool) -> Outcome:
        """Reconcile once, as a worker does."""
        table = self.device.table()
        identities = [file.identity] if file.former is None else [file.identity, file.former]
        own = find_own(table.regions(), identities, left_behind=gone)
        spec = new_spec(file.identity, alias=self.alias) if own.group is None else spec_of(own.group)
        where = Footprint(file.ranges, len(file.ranges), 0, landing=False)
        file.ledger.settle()
        return reconcile(
            self.device,
            file.identity,
            where,
            table,
            own,
            spec.for_file(file.identity),
            limits=Limits(file=limit),
            retirement=file.ledger,
            join=join,
        )

    @rule(which=FILES, places=PLACES)
    def change(self, which: int, places: tuple[Range, ...]) -> None:
        """Replace the file's extents; old and new ones may overlap in any way."""
        self.files[which].ranges = places
        self.files[which].at_rest = False

    @rule(which=FILES, places=PLACES)
    def grow(self, which: int, places: tuple[Range, ...]) -> None:
        """The file grows anywhere."""
        self.change(which, joined([*self.files[which].ranges, *places]))

    @precondition(lambda self: all(f.former is None for f in self.files))
    @rule(which=FILES)
    def replace(self, which: int) -> None:
        """Another file replaces it on the same blocks: a reflinked copy, or one that reused them."""
        self.inode += 1
        file = self.files[which]
        file.former, file.identity = file.identity, FileIdentity(0, self.inode, 1)
        file.at_rest = False

    @rule(which=FILES, limit=st.sampled_from([UNLIMITED, UNLIMITED, 1, 2, 4]), join=st.booleans())
    def follow(self, which: int, limit: int, join: bool) -> None:
        """After a complete run the group covers the file and has all its regions."""
        file = self.files[which]
        outcome = self.run(file, limit, join)
        assert outcome.failure is None
        file.former, file.at_rest = None, True
        listing = self.device.list().regions
        groups = [
            g for g in groups_of(listing).values() if parse_mark(g.tag.userdata) == file_mark(file.identity)
        ]
        assert len(groups) == (1 if file.ranges else 0)
        members = groups[0].regions if groups else ()
        assert tuple(members) == outcome.members
        self.check_cover(file, members, limit if outcome.limit is None else len(file.ranges) - 1)
        marked = {r.id for r in listing if self.bears_mark(r, file.identity)}
        assert marked == {r.id for r in members}, "a region of the file is in no tag"
        for g in groups:
            assert {n for span in g.tag.members for n in span} == {r.id for r in members}
            assert outcome.group_id == g.id == min(r.id for r in members)
        assert sum(r.aux.startswith("DMS_GROUP=") for r in members) == len(groups), (
            "a tag that leads no group"
        )

    def check_cover(self, file: Followed, members: Sequence[Region], limit: int) -> None:
        """The members cover the file exactly and once, or a part of it if limited, and no other sectors."""
        covered = sectors([(r.start, r.end) for r in members])
        assert len(covered) == len(set(covered))
        assert set(covered) <= set(sectors(file.ranges))
        assert len(members) <= limit
        if limit >= len(file.ranges):
            assert len(covered) == total(file.ranges)

    @staticmethod
    def bears_mark(one: Region, file: FileIdentity) -> bool:
        """Return whether a region bears the file's mark, as a member or in its tag."""
        parsed = parse_tag(one.aux, one.id)
        mark = parse_mark(parsed.userdata if parsed else one.aux)
        return one.program == "dmstats" and mark is not None and mark.names(file)

    @rule(which=FILES, fuse=st.integers(0, 25), limit=st.sampled_from([UNLIMITED, 2]), join=st.booleans())
    def killed(self, which: int, fuse: int, limit: int, join: bool) -> None:
        """A run is killed after some messages; others' regions don't change."""
        file = self.files[which]
        others = self.not_of(file)
        names = [file.identity, *([file.former] if file.former else [])]
        had_group = has_group(self.device, names)
        self.device.fuse = fuse
        try:
            self.run(file, limit, join)
        except Killed:
            file.at_rest = False
        else:
            file.former, file.at_rest = None, True
        self.device.fuse = None
        assert self.not_of(file) == others
        if had_group and file.ranges:
            assert has_group(self.device, names), "the group was temporarily gone"

    def not_of(self, file: Followed) -> dict[int, tuple[int, bytes]]:
        """Return the other files' regions."""
        (other,) = (f for f in self.files if f is not file)
        names = [other.identity, *([other.former] if other.former else [])]
        return {
            r.id: (r.start, self.device.rows[r.id].aux)
            for r in self.device.list().regions
            if any(self.bears_mark(r, name) for name in names)
        }

    @rule(sector=st.integers(0, 50))
    def read(self, sector: int) -> None:
        """I/O while the files are at rest counts in every file whose group covers the sector."""
        if not all(file.at_rest for file in self.files):
            return
        for file in self.files:
            file.expected += any(r.start <= sector < r.end for r in self.live(file))
        self.device.read(sector)

    def live(self, file: Followed) -> tuple[Region, ...]:
        """Return the members of a file's group."""
        group = find_own(self.device.list().regions, [file.identity], left_behind=gone).group
        return group.regions if group else ()

    @rule(start=st.integers(0, 50), length=st.integers(1, 20), aux=STRANGE_AUX)
    def other_creates(self, start: int, length: int, aux: str) -> None:
        """Another program creates a region, with any aux."""
        number = self.device.create(start, length, program="theirs", aux=aux)
        row = self.device.rows[number]
        self.theirs[number] = (row.start, row.length, row.aux)

    @precondition(lambda self: self.theirs)
    @rule(data=st.data())
    def other_deletes(self, data: st.DataObject) -> None:
        """Another program deletes one of its regions, and its id is reused."""
        number = data.draw(st.sampled_from(sorted(self.theirs)))
        self.device.delete(number)
        del self.theirs[number]

    @precondition(lambda self: all(f.at_rest for f in self.files))
    @rule(which=FILES, data=st.data())
    def somebody_deletes_ours(self, which: int, data: st.DataObject) -> None:
        """Another program deletes one of our regions, and its counters are lost."""
        members = self.live(self.files[which])
        if members:
            number = data.draw(st.sampled_from([r.id for r in members]))
            self.files[which].expected -= self.device.rows[number].reads
            self.device.delete(number)
            self.files[which].at_rest = False

    @invariant()
    def others_are_unchanged(self) -> None:
        """No region of another program was changed or deleted."""
        if not hasattr(self, "device"):
            return
        there = {n: (r.start, r.length, r.aux) for n, r in self.device.rows.items() if r.program == b"theirs"}
        assert there == self.theirs

    @invariant()
    def nothing_counted_is_lost(self) -> None:
        """Retired counters and the group's live ones add up to exactly the reads."""
        if not hasattr(self, "device"):
            return
        for file in self.files:
            if file.at_rest:
                live = sum(self.device.rows[r.id].reads for r in self.live(file))
                assert file.ledger.reads + live == file.expected


DeviceHistory.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, phases=set(Phase) - {Phase.explain}
)


TestDeviceHistory = DeviceHistory.TestCase


TestDeviceHistory.__doc__ = DeviceHistory.__doc__


class LongNames(DeviceHistory):
    """The same with long names, whose tags have room for two ids or one range: freed ids must be reused."""

    alias = "a" * (MAX_TAG_BYTES - len(str(SPEC.tag(()))) + len(SPEC.alias) - 4)


TestLongNames = LongNames.TestCase


TestLongNames.settings = DeviceHistory.TestCase.settings


TestLongNames.__doc__ = LongNames.__doc__
