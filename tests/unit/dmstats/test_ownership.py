"""Which regions belong to a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmstats.filemap import new_spec
from dmstats.files import FileIdentity
from dmstats.group import Group, as_ranges, groups_of, parse_tag
from dmstats.marker import Mark, file_mark
from dmstats.ownership import GroupSpec, Own, candidates, find_own, lost_regions, may_adopt, spec_of
from dmstats.ranges import Range
from dmstats.region import Region, Table

FILE = FileIdentity(1, 12, 7)
OTHER = FileIdentity(1, 13, 7)
OURS = Mark(FILE.inode, FILE.generation, 100, 5000)
SPEC = new_spec(FILE, alias="vm.img")
ADOPTED = GroupSpec("vm.img", False, "user", "dmstats", precise=False, bounds=())


def region(number: int, aux: str = "-", program: str = "dmstats") -> Region:
    """Return a region of eight sectors, placed by its id."""
    return Region(number, 8 * number, 8, 8, program, aux)


def shown(regions: Sequence[Region]) -> bytes:
    """Return the @stats_list reply for these regions."""
    rows = (f"{r.id}: {r.start}+{r.length} {r.step} {r.program} {r.aux}\n" for r in regions)
    return "".join(rows).encode()


def tag(spec: GroupSpec, *ids: int) -> str:
    """Return the tag of a group of these ids."""
    return str(spec.tag(as_ranges(ids)))


def gone(_mark: Mark) -> bool:
    """Report that the maker is gone."""
    return True


def lives(_mark: Mark) -> bool:
    """Report that the maker lives."""
    return False


def ids(own: Own) -> list[int]:
    """Return the ids of the file's own regions."""
    return [r.id for r in own.regions]


def test_own_by_mark() -> None:
    """A group whose userdata is the file's mark belongs to the file with its members; another file's
    doesn't."""
    regions = [
        region(0, tag(new_spec(OTHER, alias="vm.img"), 0)),
        region(2, tag(SPEC, 2, 4)),
        region(3),
        region(4, str(OURS)),
    ]
    own = find_own(regions, [FILE], left_behind=gone)
    assert own.group is not None
    assert own.group.id == 2
    assert ids(own) == [2, 4]
    assert own.members() == {2, 4}
    assert find_own(regions, [FileIdentity(1, 12, 8)], left_behind=gone) == Own(None, ())


def test_own_of_a_file_and_the_one_it_replaces() -> None:
    """The replaced file's group is found for the new one."""
    regions = [region(0, tag(SPEC, 0))]
    assert ids(find_own(regions, [OTHER, FILE], left_behind=gone)) == [0]


def test_adopted_by_id_and_looks() -> None:
    """An unmarked group belongs to the file if its id is known and alias, userdata and program are
    unchanged."""
    regions = [region(1, tag(ADOPTED, 1, 2)), region(2)]
    own = find_own(regions, [FILE], known=[1], spec=ADOPTED, left_behind=gone)
    assert ids(own) == [1, 2]
    for strange in (
        GroupSpec("other", False, "user", "dmstats", precise=False, bounds=()),
        GroupSpec("vm.img", False, "", "dmstats", precise=False, bounds=()),
        GroupSpec("vm.img", False, "user", "libvirt", precise=False, bounds=()),
    ):
        assert find_own(regions, [FILE], known=[1], spec=strange, left_behind=gone) == Own(None, ())
    assert find_own(regions, [FILE], known=[2], spec=ADOPTED, left_behind=gone) == Own(None, ())
    assert find_own(regions, [FILE], spec=ADOPTED, left_behind=gone) == Own(None, ())


def test_id_reused_by_another_file() -> None:
    """A known id that another file's group has reused is left alone, however similar the group."""
    regions = [region(1, tag(new_spec(OTHER, alias="vm.img"), 1))]
    assert find_own(regions, [FILE], known=[1], spec=SPEC, left_behind=gone) == Own(None, ())


def test_stale_tag_lists_somebody_elses_region() -> None:
    """A region that reuses a former member's id doesn't belong to the file: whether another program's,
    another file's, another group's leader, or in an adopted group one of another program."""
    strangers = [
        region(1),
        region(2, "-", "libvirt"),
        region(3, str(Mark(OTHER.inode, OTHER.generation, 100, 5000))),
        region(4, tag(ADOPTED, 4)),
    ]
    marked = [region(0, tag(SPEC, *range(6))), *strangers, region(5, str(OURS))]
    own = find_own(marked, [FILE], left_behind=gone)
    assert ids(own) == [0, 5]
    assert own.members() == {0, 5}
    adopted = [region(0, tag(ADOPTED, *range(6))), *strangers, region(5, str(OURS))]
    # Nothing distinguishes region 1 from the adopted group's own.
    assert ids(find_own(adopted, [FILE], known=[0], spec=ADOPTED, left_behind=gone)) == [0, 1, 5]


def test_two_tags_after_an_interrupted_move() -> None:
    """After an interrupted move both groups' members are the file's, and one of the groups is chosen."""
    regions = [region(0, tag(SPEC, 0, 3)), region(2, tag(SPEC, 2, 3)), region(3, str(OURS))]
    own = find_own(regions, [FILE], left_behind=gone)
    assert ids(own) == [0, 2, 3]
    assert own.group is not None
    assert own.group.id in (0, 2)


def test_left_behind() -> None:
    """A marked region in no tag is the file's once its maker is gone, and left alone before. One in another
    program's group isn't taken from it."""
    regions = [region(0, str(OURS)), region(1), region(2, tag(ADOPTED, 2, 3)), region(3, str(OURS))]
    assert ids(find_own(regions, [FILE], left_behind=gone)) == [0]
    assert find_own(regions, [FILE], left_behind=lives) == Own(None, ())


def test_stale_tag_of_another_file_hides_nothing() -> None:
    """An orphan region is found though another file's older tag lists its id."""
    regions = [region(0, tag(new_spec(OTHER, alias="b"), 0, 1)), region(1, str(OURS))]
    assert ids(find_own(regions, [FILE], left_behind=gone)) == [1]


def test_stale_tag_of_another_program_hides_nothing() -> None:
    """Nor does another program's tag."""
    regions = [region(0, tag(ADOPTED, 0, 1), "theirs"), region(1, str(OURS))]
    assert ids(find_own(regions, [FILE], left_behind=gone)) == [1]


AUXES = st.sampled_from(
    [
        "-",
        str(OURS),
        str(Mark(FILE.inode, FILE.generation, 200, 6000)),
        str(Mark(OTHER.inode, OTHER.generation, 100, 5000)),
        str(Mark(FILE.inode, 10 * FILE.generation, 100, 5000)),
        "x DMS_GROUP=y",
        *(
            tag(spec, *members)
            for spec in (SPEC, ADOPTED)
            for members in [(0, 1, 2), (1, 3, 4), (2,), (3, 5)]
        ),
    ]
)
DEVICES = st.lists(st.tuples(AUXES, st.sampled_from(["dmstats", "other"])), max_size=7)


@given(DEVICES, st.sets(st.integers(0, 8)), st.booleans(), st.booleans())
def test_candidates(
    rows: list[tuple[str, str]], remembered: set[int], replaced: bool, others_too: bool
) -> None:
    """The candidates give the same result as all regions of the device, with any rows, and with any aux that others
    wrote into the file's earlier regions."""
    regions = [region(n, aux, program) for n, (aux, program) in enumerate(rows)]
    if others_too:
        regions += [region(n, "filemapd.i99.g1.p1.t1") for n in range(10, 40)]
    table, files = Table(shown(regions)), [FILE, OTHER] if replaced else [FILE]
    before = [region(n, str(OURS)) for n in sorted(remembered)]
    among = partial(find_own, files=files, spec=SPEC, left_behind=lambda m: m == OURS, remembered=before)
    assert among(candidates(table, files, before)) == among(table.regions())


def test_few_candidates() -> None:
    """On a device with many files' regions few rows are parsed."""
    own = [region(0, tag(SPEC, 0, 1)), region(1, str(OURS))]
    regions = [*own, *(region(n, "filemapd.i99.g1.p1.t1") for n in range(2, 100))]
    assert list(candidates(Table(shown(regions)), [FILE], own)) == own


def test_lost() -> None:
    """A region is lost if its id is free or reused; not if it has another aux."""
    one, two, three = region(1), region(2), region(3)
    assert lost_regions([one, two, three], [two._replace(start=0), three._replace(aux="x")]) == [one, two]


def group(*regions: Region) -> Group:
    """Return the group led by the first region."""
    return groups_of(regions)[regions[0].id]


def test_may_adopt() -> None:
    """A group can be taken over if it bears the file's mark, or none and overlaps the file; not if its tag or
    a member bears another's mark."""
    here, elsewhere = [Range(12, 20)], [Range(800, 808)]
    plain = group(region(0, tag(ADOPTED, 0, 1)), region(1))
    assert may_adopt(plain, FILE, here)
    assert not may_adopt(plain, FILE, elsewhere)
    assert not may_adopt(plain, FILE, [])
    ours = group(region(0, tag(SPEC, 0, 1)), region(1))
    assert may_adopt(ours, FILE, elsewhere)
    assert not may_adopt(ours, OTHER, here)
    other_member = group(region(0, tag(ADOPTED, 0, 1)), region(1, str(OURS)))
    assert may_adopt(other_member, FILE, here)
    assert not may_adopt(other_member, OTHER, here)


def test_spec_of() -> None:
    """A spec has a group's alias, tag form and userdata, and its leader's program and options."""
    leader = Region(0, 0, 8, 8, "libvirt", 'DMS_GROUP="a b":0-1#u', precise=True, bounds=(5, 6))
    assert spec_of(group(leader, region(1))) == GroupSpec(
        "a b", True, "u", "libvirt", precise=True, bounds=(5, 6)
    )


def test_spec_for_another_file() -> None:
    """For another file a group's mark changes; a user's userdata stays."""
    assert SPEC.for_file(OTHER).userdata == str(file_mark(OTHER))
    assert ADOPTED.for_file(OTHER) == ADOPTED


@pytest.mark.parametrize("alias", ["", "vm", "a b", "ü"])
def test_tag_of_a_spec(alias: str) -> None:
    """The tag of a spec parses to a group with that spec."""
    spec = GroupSpec(alias, bool(alias), "u", "dmstats", precise=False, bounds=())
    parsed = parse_tag(tag(spec, 0, 1, 2), 0)
    assert parsed == spec.tag((range(3),))
