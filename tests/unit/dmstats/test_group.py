"""Group tags in all forms that libdm or any other program could write."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmstats.device import escape
from dmstats.group import Tag, as_ranges, groups_of, members_text, parse_tag
from dmstats.region import Region, parse_list
from tests.unit.data import recorded
from tests.unit.model import split_words

IDS = st.sets(st.integers(0, 2**31 - 1), min_size=1)
ALIASES = st.text(st.characters(exclude_characters='":#\n\0'), max_size=20)
USERDATA = st.text(st.characters(exclude_characters="\n\0"), max_size=20).filter(lambda text: text != "-")


def region(number: int, aux: str = "-") -> Region:
    """Return a region of eight sectors, placed by its id."""
    return Region(number, 8 * number, 8, 8, "dmstats", aux)


@pytest.mark.parametrize(
    ("aux", "number", "tag"),
    [
        ('DMS_GROUP="vm.img":0-3#-', 0, Tag("vm.img", True, (range(4),), "")),
        ("DMS_GROUP=vm.img:0-3#-", 0, Tag("vm.img", False, (range(4),), "")),
        ("DMS_GROUP=:2,4,6-7#-", 2, Tag("", False, (range(2, 3), range(4, 5), range(6, 8)), "")),
        ('DMS_GROUP="":2#-', 2, Tag("", True, (range(2, 3),), "")),
        ("DMS_GROUP=vm:5#user data", 5, Tag("vm", False, (range(5, 6),), "user data")),
        ("DMS_GROUP=vm:5", 5, Tag("vm", False, (range(5, 6),), "")),
        ("DMS_GROUP=vm:5#", 5, Tag("vm", False, (range(5, 6),), "")),
        ('DMS_GROUP="a: b, c":1#-', 1, Tag("a: b, c", True, (range(1, 2),), "")),
        ('DMS_GROUP="a#b":1#x', 1, Tag("a#b", True, (range(1, 2),), "x")),
        ("DMS_GROUP=a:1:0-3#x", 0, Tag("a:1", False, (range(4),), "x")),
        ('DMS_GROUP="q"uote":1#-', 1, Tag('q"uote', True, (range(1, 2),), "")),
        ('DMS_GROUP=half"quote:1#-', 1, Tag('half"quote', False, (range(1, 2),), "")),
        ("DMS_GROUP=v:7,5-6,5#x", 5, Tag("v", False, (range(5, 8),), "x")),
        ("DMS_GROUP=v:0-3,2-5,9#x", 0, Tag("v", False, (range(6), range(9, 10)), "x")),
    ],
)
def test_forms(aux: str, number: int, tag: Tag) -> None:
    """A tag is parsed in the old form and the new, without alias, without '#', with members in any order."""
    assert parse_tag(aux, number) == tag


@pytest.mark.parametrize(
    ("aux", "number"),
    [
        ("-", 0),
        ("", 0),
        ("DMS_GROUP=vm:1-3#-", 2),
        ("DMS_GROUP=vm:1-3#-", 0),
        ("DMS_GROUP=vm:#-", 0),
        ("DMS_GROUP=vm:1-0#-", 0),
        ("DMS_GROUP=vm:1-0#-", 1),
        ("DMS_GROUP=vm:0,5-3#-", 0),
        ("DMS_GROUP=vm:0,#-", 0),
        ("DMS_GROUP=vm:-1#-", 0),
        ("DMS_GROUP=vm:0-1-2#-", 0),
        ("DMS_GROUP=vm0#-", 0),
        ("DMS_GROUP=vm:0x1#-", 0),
        ("DMS_GROUP=vm:\N{DEVANAGARI DIGIT ONE}#-", 0),
        (" DMS_GROUP=vm:0#-", 0),
        ("dms_group=vm:0#-", 0),
        ("DMS_GROUP=:0-" + "9" * 5000, 0),
    ],
)
def test_no_tag(aux: str, number: int) -> None:
    """A tag that isn't on its lowest member, or lists nothing or backwards ranges, is no group, as in
    dmstats."""
    assert parse_tag(aux, number) is None


def test_hostile_members_take_no_time() -> None:
    """A tag may list any number of ids: only existing regions are iterated, and it is written back."""
    aux = "DMS_GROUP=vm:0-18446744073709551615,18446744073709551617#-"
    started = time.process_time()
    (group,) = groups_of([region(0, aux), region(7)]).values()
    assert [r.id for r in group.regions] == [0, 7]
    assert str(group.tag) == aux
    assert time.process_time() - started < 1


def test_overlapping_members_count_once() -> None:
    """A member listed twice counts once."""
    (group,) = groups_of([region(0, "DMS_GROUP=vm:0-2,1-2,2#-"), region(1), region(2)]).values()
    assert [r.id for r in group.regions] == [0, 1, 2]


def test_missing_members_are_left_out() -> None:
    """Missing members don't count; the group's id is its lowest member."""
    (group,) = groups_of([region(3, "DMS_GROUP=vm:3-9#-"), region(5), region(10)]).values()
    assert [r.id for r in group.regions] == [3, 5]
    assert (group.id, group.leader.id) == (3, 3)


def test_recorded_tag_is_a_group() -> None:
    """A tag from a kernel, with a space in its alias, makes a group of its members."""
    groups = groups_of(parse_list(recorded("list_odd.txt")).regions)
    assert groups.keys() == {8}
    assert groups[8].tag == Tag("vm 1", True, (range(8, 10),), "mine")
    assert [r.id for r in groups[8].regions] == [8, 9]


@given(ALIASES, st.booleans(), IDS, USERDATA)
def test_tags_are_read_back(alias: str, quoted: bool, ids: set[int], userdata: str) -> None:
    """A tag is parsed as it was written, also after the kernel has split and joined its words."""
    tag = Tag(alias, quoted and bool(alias), as_ranges(ids), userdata)
    (word,) = split_words(escape(str(tag)))
    assert parse_tag(word.decode(), min(ids)) == tag
    assert tag.length() == len(word)
    assert all(parse_tag(str(tag), other) is None for other in ids - {min(ids)})


@given(IDS)
def test_members_text_is_read_back(ids: set[int]) -> None:
    """The list of members, with collapsed neighbours, has exactly the ids."""
    ranges = as_ranges(ids)
    assert {number for span in ranges for number in span} == ids
    assert all(one.stop < other.start for one, other in pairwise(ranges))
    tag = parse_tag(f"DMS_GROUP=:{members_text(ranges)}#-", min(ids))
    assert tag is not None
    assert tag.members == ranges


def test_members_text() -> None:
    """Members are listed as in dmstats; two neighbours are a range too."""
    assert members_text(as_ranges([7, 0, 2, 1, 10, 9])) == "0-2,7,9-10"
    assert members_text(()) == ""


def test_no_alias_is_written_without_quotes() -> None:
    """A group without an alias is never written with empty quotes, which libdm misparses; the '#' is always
    written."""
    assert str(Tag("", True, (range(2),), "")) == "DMS_GROUP=:0-1#-"


@given(st.text(), st.integers(0, 3))
def test_any_aux_is_read(aux: str, number: int) -> None:
    """No aux makes the parser fail, with the tag's prefix or without."""
    for text in (aux, f"DMS_GROUP={aux}", f'DMS_GROUP="{aux}":{number}#'):
        groups_of([region(number, text)])
