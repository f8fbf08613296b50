"""Output of filefrag 1.47.0 and dmstats 1.02.185, recorded in a guest, as the demonstration parses it."""

from pathlib import Path

import pytest

from demo.oracle import Extent, OracleError, Region, overlap, parse_dmstats, parse_filefrag, union, without

_DATA = Path(__file__).parent / "data"


def _recorded(name: str) -> str:
    return (_DATA / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "starts"), [("ext4", [10328, 10424, 10616, 10840]), ("xfs", [192, 288, 480, 832])]
)
def test_filefrag(name: str, starts: list[int]) -> None:
    """Each extent on the device has its place, an unwritten one too; a delayed one is left out."""
    places = zip([0, 96, 288, 640], starts, [64, 160, 224, 80], strict=True)
    assert parse_filefrag(_recorded(f"filefrag-{name}")) == [
        Extent(logical, range(start, start + length)) for logical, start, length in places
    ]


def test_filefrag_expected() -> None:
    """Scattered extents, for which filefrag prints an expected place, are parsed likewise."""
    extents = parse_filefrag(_recorded("filefrag-interleaved"))
    assert [extent.sectors.start for extent in extents] == [10328, 11352, 12376]
    assert {len(extent.sectors) for extent in extents} == {512}


def test_dmstats() -> None:
    """A region has its group, or none."""
    assert parse_dmstats(_recorded("dmstats-ext4")) == [
        Region(0, None, range(20480, 22528)),
        Region(1, 1, range(10328, 10392)),
        Region(2, 1, range(10424, 10584)),
        Region(3, 1, range(10616, 10920)),
    ]


@pytest.mark.parametrize("line", ["0|-|20480", "0|-|a|b", "Command failed"])
def test_dmstats_not_understood(line: str) -> None:
    """An unparsable line is an error, never skipped."""
    with pytest.raises(OracleError):
        parse_dmstats(line)


def test_dmstats_agrees_with_filefrag() -> None:
    """The regions that dmstats itself created for the file are its extents."""
    extents = [extent.sectors for extent in parse_filefrag(_recorded("filefrag-ext4"))]
    regions = [region.sectors for region in parse_dmstats(_recorded("dmstats-ext4")) if region.group_id == 1]
    assert union(extents) == union(regions)
    assert without(extents, regions) == without(regions, extents) == 0


@pytest.mark.parametrize(
    ("covered", "expected"), [([], 20), ([range(5)], 15), ([range(8, 32)], 16), ([range(100)], 0)]
)
def test_without(covered: list[range], expected: int) -> None:
    """Uncovered sectors are counted once, however the ranges overlap."""
    assert without([range(10), range(5, 10), range(30, 40)], covered) == expected


def test_overlap() -> None:
    """Ranges that only touch don't overlap."""
    assert overlap(range(10), range(9, 12))
    assert not overlap(range(10), range(10, 12))
