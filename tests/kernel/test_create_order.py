"""Runs that are killed after each of their messages in turn: the next run completes the work."""

from __future__ import annotations

import itertools
import json
import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from dmstats import ioctl
from dmstats.apply import Retired, region_key
from dmstats.fiemap import read_extents
from dmstats.filemap import create_regions_from_fd, new_spec, update_regions_from_fd
from dmstats.files import identify
from dmstats.group import groups_of
from dmstats.marker import file_mark, maker_lives
from dmstats.ownership import GroupSpec, find_own, spec_of
from dmstats.ranges import footprint
from dmstats.reconcile import Limits, Outcome, reconcile
from dmstats.region import Region
from tests.kernel import oracle
from tests.kernel.conftest import KIB64, Disk, punch, punch_region, read_direct, sync

# A plan's messages are the same on every file system.
pytestmark = pytest.mark.parametrize("made", ["ext4"], indirect=True)

KILLED = 77
FAILED = 78
# The messages that change something: a kill after any other leaves the same state as one before it.
CHANGING = (b"@stats_create", b"@stats_delete", b"@stats_set_aux")


class Fuse:
    """Ends its process at its step number `left`; None means never."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        """Do a step."""
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os._exit(KILLED)


FUSE = Fuse()


def killed_after(count: int, action: Callable[[], object]) -> bool:
    """Run `action` in a process that ends right after its step number `count`. Return whether it got so far.
    A step is a changing message or a storing of counters."""
    child = os.fork()
    if child == 0:
        real = ioctl.target_message

        def counting(dev: int, message: bytes) -> memoryview:
            reply = real(dev, message)
            if message.startswith(CHANGING):
                FUSE.step()
            return reply

        ioctl.target_message = counting
        FUSE.left = count
        try:
            action()
        except BaseException:  # noqa: BLE001 - it must not continue as the test's process
            traceback.print_exc()
            os._exit(FAILED)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == KILLED


@dataclass
class Scene:
    """A file with its group, another file with its own, and regions of another program."""

    disk: Disk
    path: Path
    fd: int
    group_id: int
    others: list[str] = field(default_factory=list)

    def note_others(self) -> None:
        """Note all rows that aren't the file's: they must not change."""
        own = {str(number) for number in self.members()}
        self.others = [row for row in self.rows() if row.partition(":")[0] not in own]

    def rows(self) -> list[str]:
        """Return what the kernel shows of each region."""
        return self.disk.stats.list_text().decode().splitlines()

    def members(self) -> list[int]:
        """Return the ids of the group."""
        group = groups_of(self.disk.stats.list().regions)[self.group_id]
        return [region.id for region in group.regions]

    def others_stand(self) -> bool:
        """Return whether all rows that aren't the file's are unchanged."""
        return set(self.others) <= set(self.rows())

    def check(self, group_id: int | None = None) -> list[int]:
        """Assert that the group covers the file exactly and nothing is left over. Return its members."""
        listed = oracle.rows(self.disk.name)
        members = oracle.assert_exact_cover(self.path, self.disk.name, group_id, listed)
        oracle.assert_no_orphan(self.disk.name, listed=listed)
        assert self.others_stand()
        return members


def scene_of(disk: Disk, turn: int) -> Scene:
    """Set up a file with its group, and others' regions with lower ids."""
    for region in disk.stats.list().regions:
        disk.stats.delete(region.id)
    path = disk.pieces(f"vm-{turn}.img", 3)
    for at in range(2):
        disk.others_region(8 * at)
    create_regions_from_fd(disk.open(disk.write("other.img", KIB64)))
    fd = disk.open(path)
    (group_id, *_) = create_regions_from_fd(fd, alias="vm")
    return Scene(disk, path, fd, group_id)


def grow(scene: Scene) -> None:
    """The file grows at its end and in a hole."""
    for offset in (KIB64, scene.path.stat().st_size):
        os.pwrite(scene.fd, b"y" * 8192, offset)
    os.fsync(scene.fd)


def grow_below(scene: Scene) -> None:
    """The file grows while an id below its leader's is free: the tag moves, and the former leader remains a
    member."""
    scene.disk.stats.delete(1)
    grow(scene)


def shrink(scene: Scene) -> None:
    """The file loses its last extent and the end of the one before."""
    os.truncate(scene.path, 2 * KIB64 + 8192)
    sync(scene.path)


def free_leader(scene: Scene) -> None:
    """The leader's extent is freed, and the file grows elsewhere."""
    punch_region(scene.path, scene.disk.name, scene.group_id)
    os.pwrite(scene.fd, b"y" * 8192, scene.path.stat().st_size + KIB64)
    os.fsync(scene.fd)


def move_all(scene: Scene) -> None:
    """All of the file's extents move."""
    size = scene.path.stat().st_size
    os.pwrite(scene.fd, b"z" * size, size)
    os.fsync(scene.fd)
    punch(scene.path, 0, length=size)


def join(scene: Scene) -> None:
    """An extent grew in many small steps, each with its own region. It grows once more, and the regions are
    joined."""
    for step in range(7):
        os.pwrite(scene.fd, b"y" * 4096, KIB64 + 4096 * step)
        os.fsync(scene.fd)
        update_regions_from_fd(scene.fd, scene.group_id)
    assert len(scene.members()) == 3 + 7
    os.pwrite(scene.fd, b"y" * 4096, KIB64 + 4096 * 7)
    os.fsync(scene.fd)


PLANS = [grow, grow_below, shrink, free_leader, move_all, join]


@pytest.mark.parametrize("change", PLANS)
def test_killed_after_each_message(disk: Disk, change: Callable[[Scene], None]) -> None:
    """After a kill at any message the next update completes the group: exact cover, no region without a tag,
    others' regions unchanged. The process that made the group lives meanwhile."""
    for count in itertools.count(1):
        scene = scene_of(disk, count)
        change(scene)
        scene.note_others()
        killed = killed_after(count, partial(update_regions_from_fd, scene.fd, scene.group_id))
        assert scene.others_stand()
        userdata = f"#{file_mark(identify(scene.fd))}"
        leaders = [row for row in scene.rows() if " DMS_GROUP=" in row and row.endswith(userdata)]
        assert leaders, "the group is lost"
        ids = update_regions_from_fd(scene.fd, int(leaders[0].partition(":")[0]))
        assert scene.check() == list(ids)
        text = disk.stats.list_text()
        assert update_regions_from_fd(scene.fd, ids[0]) == ids
        assert disk.stats.list_text() == text, "a run without changes to make changed something"
        if not killed:
            assert count > 2
            break


class Ledger:
    """A Retirement that stores counters in a file, over kills: intended counters count once their region is
    gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store({}, {})

    def _load(self) -> tuple[dict[str, int], dict[str, int]]:
        intended, counted = json.loads(self.path.read_text())
        return intended, counted

    def _store(self, intended: dict[str, int], counted: dict[str, int]) -> None:
        self.path.write_text(json.dumps([intended, counted]))

    def before_delete(self, retired: Sequence[Retired]) -> None:
        """Store the counters; they count once their regions are gone."""
        self._store({one.key: one.counters.reads for one in retired}, self._load()[1])
        FUSE.step()

    def after_delete(self, retired: Sequence[Retired]) -> None:
        """Count them: the regions are gone."""
        assert {one.key for one in retired} == set(self._load()[0])
        self.settle(())

    def settle(self, there: Iterable[Region]) -> None:
        """Count what was intended for regions that are gone, and discard the rest."""
        intended, counted = self._load()
        keys = {region_key(region) for region in there}
        for key in intended.keys() - keys:
            assert key not in counted, "a region's counters were retired twice"
            counted[key] = intended[key]
        self._store({}, counted)

    @property
    def reads(self) -> int:
        """The reads that were retired."""
        return sum(self._load()[1].values())


@dataclass
class Reconciler:
    """Acts as a worker: it knows the ids that the group can have, and retains counters."""

    disk: Disk
    fd: int
    spec: GroupSpec | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.disk.folder / "ledger")
        self.known = self.disk.folder / "known"
        self.known.write_text("")

    def know(self, number: int) -> None:
        """Note an id that the group has or is about to have."""
        with self.known.open("a") as file:
            file.write(f"{number}\n")

    def reconcile(self) -> Outcome:
        """Reconcile the group with the file."""
        file = identify(self.fd)
        table = self.disk.stats.table()
        regions = table.regions()
        self.ledger.settle(regions)
        own = find_own(
            regions,
            [file],
            known=[int(number) for number in self.known.read_text().split()],
            spec=self.spec,
            left_behind=lambda mark: not maker_lives(mark),
        )
        return reconcile(
            self.disk.stats,
            file,
            footprint(read_extents(self.fd)),
            table,
            own,
            spec_of(own.group) if own.group is not None else self.spec or new_spec(file, alias="vm.img"),
            limits=Limits(),
            retirement=self.ledger,
            before_move=lambda move: self.know(move.new),
        )


def test_created_and_killed_after_each_message(disk: Disk) -> None:
    """After a kill while a file's first group is created, the next run completes it with the existing
    regions."""
    path = disk.pieces("vm.img", 3)
    fd = disk.open(path)
    for count in range(1, 6):
        for region in disk.stats.list().regions:
            disk.stats.delete(region.id)
        others = disk.others_region()
        # Three regions and the tag; there is no fifth message.
        assert killed_after(count, partial(create_regions_from_fd, fd)) == (count < 5)
        outcome = Reconciler(disk, fd).reconcile()
        assert outcome.created == max(0, 3 - count)
        listed = oracle.rows(disk.name)
        assert oracle.assert_exact_cover(path, disk.name, listed=listed) == [1, 2, 3]
        oracle.assert_no_orphan(disk.name, listed=listed)
        assert listed[others] == oracle.Row(0, 0, 8, b"theirs", b"mine")


@pytest.mark.parametrize(
    ("change", "adopted"),
    [(shrink, False), (free_leader, False), (grow_below, True), (move_all, True)],
)
def test_counters_are_retired_once(disk: Disk, change: Callable[[Scene], None], adopted: bool) -> None:
    """After a kill at any message the group's counts are neither lost nor counted twice: the sum of retired
    and live reads is exact. A group of dmstats, which bears no mark, is found by the ids noted before it
    moved."""
    for count in itertools.count(1):
        scene = scene_of(disk, count)
        reconciler = Reconciler(disk, scene.fd)
        if adopted:
            first, *others = scene.members()
            for number in others:
                disk.stats.set_aux(number, "")
            disk.stats.set_aux(first, f"DMS_GROUP=vm:{first}-{others[-1]}#-")
            reconciler.spec = spec_of(groups_of(disk.stats.list().regions)[first])
            reconciler.know(first)
        for at in range(3):
            read_direct(scene.path, 2 * at * KIB64, at + 1)
        change(scene)
        scene.note_others()
        killed = killed_after(count, reconciler.reconcile)
        outcome = reconciler.reconcile()
        assert outcome.group_id is not None
        members = scene.check(outcome.group_id)
        live = sum(disk.stats.print(r).reads for r in disk.stats.list().regions if r.id in members)
        assert reconciler.ledger.reads + live == 1 + 2 + 3
        if not killed:
            assert count > 2
            break
