"""Which regions of a device are left over, and which stay."""

from __future__ import annotations

import pytest

from dmstats.filemap import new_spec
from dmstats.files import FileIdentity
from dmstats.group import as_ranges
from dmstats.marker import Mark
from dmstats.region import Region
from supervisor.cleanup.leftovers import Leftover, Owners, find_leftovers

DEV = 0xFD00
FILE = FileIdentity(DEV, 12, 7)
OTHER = FileIdentity(DEV, 13, 7)
SPEC = new_spec(FILE, alias="vm.img")
OURS = str(Mark(12, 7, 100, 5000))
OTHERS = str(Mark(13, 7, 101, 5000))
NOBODY = Owners()


def region(number: int, aux: str = "-", program: str = "dmstats") -> Region:
    """Return a region of eight sectors, placed by its id."""
    return Region(number, 8 * number, 8, 8, program, aux)


def tag(*ids: int, file: FileIdentity = FILE, alias: str = "vm.img") -> str:
    """Return the tag of a group of the file."""
    return str(new_spec(file, alias=alias).tag(as_ranges(ids)))


def gone(_mark: Mark) -> bool:
    """Report that no maker lives."""
    return False


def shown(found: list[Leftover]) -> list[tuple[int, tuple[int, ...], list[int]]]:
    """Return inode, groups and regions of each leftover."""
    return [(one.file.inode, one.groups, [r.id for r in one.regions]) for one in found]


GROUP = [region(2, tag(2, 4)), region(3, "theirs", "other"), region(4, OURS)]


def test_a_group_without_owner() -> None:
    """All regions of a group without owner are left over, and no others."""
    (one,) = find_leftovers(DEV, GROUP, NOBODY, gone)
    assert one == Leftover(FILE, (2,), "vm.img", (GROUP[0], GROUP[2]))
    assert one.makers == [100]


@pytest.mark.parametrize(
    "owners",
    [
        Owners(files={FILE}),
        Owners(inodes={(DEV, 12)}),
        Owners(aliases={"vm.img"}),
        Owners(groups={(DEV, 2)}),
    ],
)
def test_owners(owners: Owners) -> None:
    """A group stays if its file is configured by identity, by inode or by its alias, or if a process has
    it."""
    assert find_leftovers(DEV, GROUP, owners, gone) == []


@pytest.mark.parametrize(
    "owners",
    [
        Owners(files={FileIdentity(DEV, 12, 8), FileIdentity(DEV + 1, 12, 7)}),
        Owners(inodes={(DEV, 13), (DEV + 1, 12)}),
        Owners(aliases={"", "vm"}),
        Owners(groups={(DEV, 4), (DEV + 1, 2)}),
    ],
)
def test_no_owners(owners: Owners) -> None:
    """Another generation, device, name or group makes no owner."""
    assert shown(find_leftovers(DEV, GROUP, owners, gone)) == [(12, (2,), [2, 4])]


def test_a_maker_that_lives() -> None:
    """Regions of a living process stay, grouped or not; those of dead ones don't."""
    regions = [*GROUP, region(5, OTHERS)]
    assert find_leftovers(DEV, regions, NOBODY, lambda _mark: True) == []
    assert shown(find_leftovers(DEV, regions, NOBODY, lambda mark: mark.pid == 100)) == [(13, (), [5])]
    assert shown(find_leftovers(DEV, regions, NOBODY, lambda mark: mark.pid == 101)) == [(12, (2,), [2, 4])]


def test_without_a_tag() -> None:
    """Regions whose process was killed before grouping them are found by their marks."""
    (one,) = find_leftovers(DEV, [region(0, OURS), region(7, OURS)], NOBODY, gone)
    assert shown([one]) == [(12, (), [0, 7])]
    assert (one.alias, one.makers) == ("", [100])


def test_two_tags_of_an_interrupted_move() -> None:
    """Both groups are the file's, and both stay if one of them has an owner."""
    regions = [region(2, tag(2, 4)), region(4, tag(4, 6)), region(6, OURS)]
    assert shown(find_leftovers(DEV, regions, NOBODY, gone)) == [(12, (2, 4), [2, 4, 6])]
    assert find_leftovers(DEV, regions, Owners(groups={(DEV, 4)}), gone) == []


@pytest.mark.parametrize("program", ["dmstats", "other"])
def test_regions_of_others(program: str) -> None:
    """Regions without our mark belong to others, also in our tag. Ours in another program's group are that
    program's, whatever its name."""
    stale = [region(2, tag(2, 3, 4)), region(3), region(4, OURS)]
    assert shown(find_leftovers(DEV, stale, NOBODY, gone)) == [(12, (2,), [2, 4])]
    taken = [region(1, "DMS_GROUP=mine:1,4#-", program), region(4, OURS), region(5, OURS)]
    assert shown(find_leftovers(DEV, taken, NOBODY, gone)) == [(12, (), [5])]
    adopted = [region(1, "DMS_GROUP=mine:1,4#-", program), region(4, OURS)]
    assert find_leftovers(DEV, adopted, NOBODY, gone) == []
    listed = [region(1, tag(1, 4, file=OTHER)), region(4, OURS)]
    assert shown(find_leftovers(DEV, listed, Owners(files={OTHER}), gone)) == []


def test_nothing_of_ours() -> None:
    """Only exact marks count as ours."""
    others = [
        region(0, "DMS_GROUP=a:0-1#filemapd"),
        region(1, "filemapd.i12"),
        region(2, OURS + "x"),
        region(3, "DMS_GROUP=a:9#" + str(Mark(12, 7))),
    ]
    assert find_leftovers(DEV, others, NOBODY, gone) == []


def test_linear() -> None:
    """Ten thousand files on a device take linear time."""
    count = 10_000
    regions = [region(n, tag(n, file=FileIdentity(DEV, n, 7))) for n in range(count)]
    assert shown(find_leftovers(DEV, regions, NOBODY, gone)) == [(n, (n,), [n]) for n in range(count)]
