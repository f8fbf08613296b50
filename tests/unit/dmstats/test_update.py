"""Updates with a cache from earlier ones, beside updates without: the results are always equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dmstats.errors import DmStatsError
from dmstats.fiemap import FIEMAP_EXTENT, ExtentFlag
from dmstats.filemap import new_spec
from dmstats.files import FileIdentity
from dmstats.marker import Mark, process_mark
from dmstats.ownership import Own
from dmstats.ranges import footprint
from dmstats.reconcile import DiscardCounters, Limits, Outcome, reconcile
from dmstats.update import update
from dmstats.update_cache import DeviceCache
from tests.unit.model import Killed, ModelDevice

FILES = [FileIdentity(1, 12, 7), FileIdentity(1, 13, 7)]
DEAD = Mark(FILES[0].inode, FILES[0].generation, 2**30, 5)
# Foreign auxes: tags of our ids, marks of our files, and text like rows.
WORDS = st.sampled_from(
    [
        "",
        "x",
        str(DEAD),
        str(process_mark(FILES[0])),
        str(replace(DEAD, inode=FILES[1].inode)),
        "DMS_GROUP=:0-3#-",
        f"DMS_GROUP=:1#{Mark(12, 7)}",
        "DMS_GROUP=theirs:2,4-9#mine",
        f"x\n2: 8+8 8 dmstats {DEAD}",
        "x\n1: 8+8 8 dmstats -\ny",
        "\n\n99: 8+8 8 dmstats DMS_GROUP=:99#-",
    ]
)
WHICH = st.sampled_from(range(len(FILES)))
NUMBERS = st.integers(0, 14)
PIECES = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 6), st.sampled_from([0, 0, 0, 0x2000, 0x7, 0x800])),
    max_size=4,
)

Piece = tuple[int, int, int]


def structs(pieces: dict[int, Piece]) -> bytearray:
    """Return extents in file order, in the kernel's form."""
    last = max(pieces, default=0)
    return bytearray().join(
        FIEMAP_EXTENT.pack(
            at << 20, start * 512, length * 512, flags | (ExtentFlag.LAST if at == last else 0)
        )
        for at, (start, length, flags) in sorted(pieces.items())
    )


def create(device: ModelDevice, file: FileIdentity, pieces: dict[int, Piece], marked: bool) -> Outcome:
    """Create a group for a file, as a process that is gone."""
    spec = new_spec(file, alias="vm")
    where = footprint(FIEMAP_EXTENT.iter_unpack(structs(pieces)))
    return reconcile(
        device,
        file,
        where,
        device.table(),
        Own(None, ()),
        spec if marked else replace(spec, userdata="mine"),
        limits=Limits(),
        retirement=DiscardCounters(),
    )


class Lockstep(RuleBasedStateMachine):
    """Two devices with the same operations; one of them is updated without a cache. One file's group bears
    marks, the other's is adopted. Both are reconciled after each rule."""

    def __init__(self) -> None:
        super().__init__()
        self.devices = [ModelDevice(), ModelDevice()]
        self.seen = DeviceCache()
        self.pieces: list[dict[int, Piece]] = [{}, {}]
        self.groups = [0, 0]

    @initialize(first=PIECES, second=PIECES)
    def start(self, first: list[Piece], second: list[Piece]) -> None:
        """Create both groups."""
        self.pieces = [dict(enumerate([(8, 4, 0), (20, 6, 0), *more])) for more in (first, second)]
        for which in range(len(FILES)):
            self.others_group(which)

    def both(self, action: Callable[[ModelDevice, DeviceCache], object]) -> object:
        """Do the same on both devices and return the result, which must be equal."""
        results: list[object] = []
        for device, seen in zip(self.devices, (self.seen, DeviceCache()), strict=True):
            try:
                results.append(action(device, seen))
            except (DmStatsError, Killed) as error:
                results.append((type(error), str(error)))
        assert results[0] == results[1]
        return results[0]

    @rule(which=WHICH, pieces=PIECES, at=st.integers(0, 90))
    def grow(self, which: int, pieces: list[Piece], at: int) -> None:
        """The file gets extents anywhere, on any blocks."""
        for n, piece in enumerate(pieces):
            self.pieces[which].setdefault(at + n, piece)

    @rule(which=WHICH, more=st.integers(-3, 3), data=st.data())
    def resize(self, which: int, more: int, data: st.DataObject) -> None:
        """An extent grows or shrinks."""
        if self.pieces[which]:
            at = data.draw(st.sampled_from(sorted(self.pieces[which])))
            start, length, flags = self.pieces[which][at]
            self.pieces[which][at] = (start, max(1, length + more), flags)

    @rule(which=WHICH, data=st.data())
    def shrink(self, which: int, data: st.DataObject) -> None:
        """Some extents are freed."""
        for at in (
            data.draw(st.sets(st.sampled_from(sorted(self.pieces[which])))) if self.pieces[which] else ()
        ):
            del self.pieces[which][at]

    @rule(start=st.integers(0, 50), program=st.sampled_from(["dmstats", "theirs"]), aux=WORDS)
    def others_create(self, start: int, program: str, aux: str) -> None:
        """Another program creates a region."""
        self.both(lambda device, _seen: device.create(start, 8, program=program, aux=aux))

    @rule(number=NUMBERS)
    def others_delete(self, number: int) -> None:
        """Another program deletes a region, maybe ours."""
        self.both(lambda device, _seen: device.delete(number))

    @rule(number=NUMBERS, aux=WORDS)
    def others_write(self, number: int, aux: str) -> None:
        """Another program overwrites an aux, maybe ours."""
        self.both(lambda device, _seen: device.set_aux(number, aux))

    @rule(number=NUMBERS, aux=WORDS)
    def others_try(self, number: int, aux: str) -> None:
        """Another program overwrites an aux and restores it."""

        def overwrite(device: ModelDevice, _seen: DeviceCache) -> None:
            before = device.rows[number].aux if number in device.rows else b""
            device.set_aux(number, aux)
            device.rows[number].aux = before

        self.both(overwrite)

    @rule(which=WHICH, fuse=st.integers(0, 4))
    def killed(self, which: int, fuse: int) -> None:
        """A reconciling process is killed."""
        self.follow(which, fuse)

    def others_group(self, which: int) -> None:
        """Another program creates a group for the file."""

        def make(device: ModelDevice, _seen: DeviceCache) -> int | None:
            outcome = create(device, FILES[which], self.pieces[which], marked=which == 0)
            for region in outcome.members[1:]:
                device.set_aux(region.id, region.aux if which == 0 else "")
            return outcome.group_id

        made = self.both(make)
        self.groups[which] = made if isinstance(made, int) else 0

    def follow(self, which: int, fuse: int | None = None) -> None:
        """Reconcile the file's group."""
        extents = bytes(structs(self.pieces[which]))

        def step(device: ModelDevice, seen: DeviceCache) -> tuple[int, ...]:
            device.fuse = fuse
            try:
                return update(seen, device, FILES[which], extents, self.groups[which])
            finally:
                device.fuse = None

        ids = self.both(step)
        if ids and isinstance(ids, tuple) and isinstance(ids[0], int):
            self.groups[which] = ids[0]
        elif fuse is None:
            self.others_group(which)

    @invariant()
    def devices_are_equal(self) -> None:
        """Both devices have equal regions, before and after both groups are reconciled."""
        for which in range(len(FILES)):
            assert self.devices[0].list_text() == self.devices[1].list_text()
            self.follow(which)
        assert self.devices[0].list_text() == self.devices[1].list_text()


TestLockstep = Lockstep.TestCase
TestLockstep.settings = settings(max_examples=150, stateful_step_count=30)
