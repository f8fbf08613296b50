"""Groups of dmstats as Debian ships it, and ours: each tool reads, edits and deletes the other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmstats.errors import GroupNotFoundError
from dmstats.filemap import create_regions_from_fd, update_regions_from_fd
from tests.kernel import oracle
from tests.kernel.conftest import KIB64, Disk, punch, punch_region

# A tag is the same on every file system.
pytestmark = pytest.mark.parametrize("made", ["ext4"], indirect=True)


def aux_of(disk: Disk, number: int) -> bytes:
    """Return a region's aux, its options included."""
    (aux,) = (row.aux for row in oracle.rows(disk.name) if row.id == number)
    return aux


def grow(path: Path) -> None:
    """Fill a hole of a file: its group needs one more region."""
    with path.open("rb+") as file:
        file.seek(KIB64)
        file.write(b"y" * 4096)
    oracle.run("sync", str(path))


def set_aux(disk: Disk, number: int, aux: bytes) -> None:
    """Set a region's aux with dmsetup; the caller does the quoting."""
    quoted = b"".join(b"\\" + bytes([byte]) if byte in b" \\\t\xa0" else bytes([byte]) for byte in aux)
    oracle.message(disk.name, b"@stats_set_aux %d %s" % (number, quoted))


def test_dmstats_lists_our_group(disk: Disk) -> None:
    """dmstats shows our group with its members, and each region as part of it."""
    path = disk.pieces("vm.img", 3)
    disk.others_region()
    create_regions_from_fd(disk.open(path))
    ((name, group, members),) = oracle.fields(disk.name, "group", "stats_name", "group_id", "region_id")
    assert "vm.img" in name
    assert (group, members) == ("1", "1-3")
    assert oracle.fields(disk.name, "region", "region_id", "group_id") == [["1", "1"], ["2", "1"], ["3", "1"]]


@pytest.mark.parametrize(
    "name", ["my vm.img", "a:b.img", "a#b.img", 'q"uote.img', "à.img", "tab\t.img", "\udcff\udca0.img"]
)
def test_dmstats_lists_a_group_of_any_file_name(disk: Disk, name: str) -> None:
    """dmstats can read the alias made from any file name, and so the group."""
    path = disk.pieces(name, 2)
    create_regions_from_fd(disk.open(path))
    assert oracle.fields(disk.name, "group", "group_id", "region_id") == [["0", "0-1"]]


def test_dmstats_deletes_our_group(disk: Disk) -> None:
    """dmstats deletes our group with all its regions; then there is no group to update."""
    path = disk.pieces("vm.img", 3)
    fd = disk.open(path)
    create_regions_from_fd(fd)
    oracle.run("dmstats", "delete", "--groupid", "0", disk.name)
    assert oracle.table(disk.name) == {}
    with pytest.raises(GroupNotFoundError):
        update_regions_from_fd(fd, 0)


def test_dmstats_ungroups_and_groups_ours(disk: Disk) -> None:
    """After dmstats removes our tag there is no group to update. A group that it creates of the same regions
    is the file's again, with its alias."""
    path = disk.pieces("vm.img", 3)
    fd = disk.open(path)
    create_regions_from_fd(fd)
    oracle.run("dmstats", "ungroup", "--groupid", "0", disk.name)
    assert oracle.groups(disk.name) == {}
    with pytest.raises(GroupNotFoundError):
        update_regions_from_fd(fd, 0)
    oracle.run("dmstats", "group", "--alias", "theirs", "--regions", "0-2", disk.name)
    grow(path)
    ids = update_regions_from_fd(fd, 0)
    assert oracle.assert_exact_cover(path, disk.name, 0) == list(ids)
    assert aux_of(disk, 0).startswith(b"DMS_GROUP=theirs:0-3#")
    oracle.assert_no_orphan(disk.name)


@pytest.mark.parametrize("by_filemap", [True, False])
def test_group_of_dmstats(disk: Disk, by_filemap: bool) -> None:
    """A group created by dmstats is updated: alias, tag form without quotes, and program stay."""
    path = disk.pieces("vm.img", 4)
    fd = disk.open(path)
    if by_filemap:
        oracle.run("dmstats", "create", "--filemap", "--nomonitor", "--alias", "mine", str(path))
    else:
        create_regions_from_fd(fd, group=False)
        oracle.run("dmstats", "group", "--alias", "mine", "--regions", "0-3", disk.name)
    assert aux_of(disk, 0).startswith(b"DMS_GROUP=mine:0-3#")
    grow(path)
    ids = update_regions_from_fd(fd, 0)
    assert oracle.assert_exact_cover(path, disk.name, 0) == list(ids)
    assert aux_of(disk, 0).startswith(b"DMS_GROUP=mine:0-4#")
    oracle.assert_no_orphan(disk.name)
    punch_region(path, disk.name, 0)
    ids = update_regions_from_fd(fd, 0)
    assert oracle.assert_exact_cover(path, disk.name, ids[0]) == list(ids)
    assert aux_of(disk, ids[0]).startswith(b"DMS_GROUP=mine:")
    assert oracle.fields(disk.name, "group", "group_id") == [[str(ids[0])]]
    oracle.assert_no_orphan(disk.name)


def test_options_of_dmstats_stay(disk: Disk) -> None:
    """New regions in a group of dmstats have its precise timestamps and histogram."""
    path = disk.pieces("vm.img", 3)
    fd = disk.open(path)
    oracle.run(
        "dmstats", "create", "--filemap", "--nomonitor", "--precise", "--bounds", "100us,1ms,20ms", str(path)
    )
    options = b" precise_timestamps histogram:100000,1000000,20000000"
    assert all(row.aux.endswith(options) for row in oracle.rows(disk.name))
    grow(path)
    punch(path, 4 * KIB64, length=4096)
    ids = update_regions_from_fd(fd, 0)
    assert oracle.assert_exact_cover(path, disk.name, 0) == list(ids)
    assert all(row.aux.endswith(options) for row in oracle.rows(disk.name))


TAGS = [
    b"DMS_GROUP=vm.img:0-1#-",
    b'DMS_GROUP="vm.img":0-1#-',
    b"DMS_GROUP=:0-1#-",
    b"DMS_GROUP=my vm:0-1#-",
    b'DMS_GROUP="my vm":0-1#-',
    b'DMS_GROUP="a:b#c":0-1#-',
    b"DMS_GROUP=a:b:0-1#-",
    b'DMS_GROUP="q"uote":0-1#-',
    'DMS_GROUP="à la carte":0-1#-'.encode(),
    b"DMS_GROUP=back\\slash:0-1#-",
    b"DMS_GROUP=no\xfftext:0-1#-",
    b"DMS_GROUP=vm:0-1#user",
    b'DMS_GROUP="vm":0-1#user data:1#2',
]


@pytest.mark.parametrize("tag", TAGS)
def test_tag_keeps_its_form(disk: Disk, tag: bytes) -> None:
    """An update changes only the list of members: the tag keeps alias and userdata to the byte, and its form,
    with or without quotes."""
    path = disk.pieces("vm.img", 2)
    fd = disk.open(path)
    create_regions_from_fd(fd, group=False)
    set_aux(disk, 0, tag)
    assert aux_of(disk, 0) == tag
    assert update_regions_from_fd(fd, 0) == (0, 1)
    assert aux_of(disk, 0) == tag, "something was written without a change"
    grow(path)
    assert update_regions_from_fd(fd, 0) == (0, 1, 2)
    assert aux_of(disk, 0) == tag.replace(b":0-1#", b":0-2#")


def test_tag_without_end_gets_one(disk: Disk) -> None:
    """A tag without '#' is read, and written with one: without it libdm loses regions that have options."""
    path = disk.pieces("vm.img", 2)
    fd = disk.open(path)
    create_regions_from_fd(fd, group=False)
    set_aux(disk, 0, b"DMS_GROUP=vm:0,1")
    grow(path)
    assert update_regions_from_fd(fd, 0) == (0, 1, 2)
    assert aux_of(disk, 0) == b"DMS_GROUP=vm:0-2#-"


def test_a_bad_row_loses_nothing(disk: Disk) -> None:
    """Unreadable rows and invalid tags stop no update, and stay unchanged."""
    path = disk.pieces("vm.img", 2)
    fd = disk.open(path)
    for aux in (b"DMS_GROUP=:1-0#", b"DMS_GROUP=x:0-99999999999999999999#", b"one\\\nline"):
        oracle.message(disk.name, b"@stats_create 0+8 /1 0 theirs " + aux)
    oracle.message(disk.name, b"@stats_create 0+8 /1 0 the\\\tirs -")
    before = oracle.message(disk.name, "@stats_list")
    assert create_regions_from_fd(fd) == (4, 5)
    grow(path)
    assert update_regions_from_fd(fd, 4) == (4, 5, 6)
    assert oracle.message(disk.name, "@stats_list").startswith(before)


def test_dmstats_edits_around_a_longest_tag(disk: Disk) -> None:
    """dmstats can delete a group with a tag of nearly 1,023 bytes, our maximum, with all its members."""
    path = disk.pieces("vm.img", 700, 4096)
    fd = disk.open(path)
    create_regions_from_fd(fd)
    punch(path, *range(0, 700 * 8192, 16384), length=4096)
    (group_id, *_) = update_regions_from_fd(fd, 0)
    assert 900 < len(aux_of(disk, group_id)) <= 1023
    oracle.run("dmstats", "ungroup", "--groupid", str(group_id), disk.name)
    assert oracle.groups(disk.name) == {}
