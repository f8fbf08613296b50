"""The pieces of a file, compared with a model that has every sector."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dmstats.fiemap import Extent, ExtentFlag
from dmstats.region import Region
from supervisor.cli.file_layout import Piece, layout, pieces

SECTOR = 512


def region(number: int, start: int, end: int) -> Region:
    """Return a region over some sectors."""
    return Region(number, start, end - start, end - start, "dmstats", "-")


@st.composite
def files(draw: st.DrawFn) -> tuple[int, list[Extent]]:
    """Draw a file's size and extents, with holes and extents without a place."""
    extents, at = [], 0
    for gap, length, place, flags in draw(
        st.lists(
            st.tuples(
                st.integers(0, 5),
                st.integers(1, 9),
                st.integers(0, 60),
                st.sampled_from([0, 0, 0x800, 0x2000, 0x7]),
            ),
            max_size=6,
        )
    ):
        at += gap * SECTOR
        extents.append(Extent(at, 0 if flags == 0x7 else place * SECTOR, length * SECTOR, flags))
        at += length * SECTOR
    return at + draw(st.integers(0, 3)) * SECTOR, extents


REGIONS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=6).map(
    lambda places: [region(n, start, start + length) for n, (start, length) in enumerate(places)]
)


def by_sector(found: list[Piece]) -> list[tuple[int, int | None, tuple[str, ...], tuple[int, ...]]]:
    """Return each sector's offset, place, word and regions."""
    return [
        (
            piece.offset + at,
            None if piece.place is None else piece.place + at,
            piece.flags,
            piece.regions,
        )
        for piece in found
        for at in range(0, piece.length, SECTOR)
    ]


@given(files(), REGIONS)
def test_any_file(file: tuple[int, list[Extent]], regions: list[Region]) -> None:
    """Every sector is in one piece with exactly its regions, and no two pieces could be joined."""
    size, extents = file
    words: dict[int, tuple[str, ...]] = {0: (), 0x800: ("unwritten",), 0x2000: ("shared",), 0x7: ("delayed",)}
    expected: dict[int, tuple[int | None, tuple[str, ...], tuple[int, ...]]] = dict.fromkeys(
        range(0, size, SECTOR), (None, ("hole",), ())
    )
    for extent in extents:
        for at in range(0, extent.length, SECTOR):
            if extent.flags & ExtentFlag.DELALLOC:
                expected[extent.logical + at] = (None, words[extent.flags], ())
                continue
            place = extent.physical + at
            here = tuple(r.id for r in regions if r.start <= place // SECTOR < r.end)
            expected[extent.logical + at] = (place, words[extent.flags], here)
    found = pieces(size, extents, regions)
    assert by_sector(found) == [(at, *rest) for at, rest in sorted(expected.items())]
    for one, other in pairwise(found):
        touch = one.place is None if other.place is None else one.place == other.place - one.length
        assert not touch or (one.flags, one.regions) != (other.flags, other.regions)


def test_words() -> None:
    """Each relevant flag has its word. Bytes without a place and without such a flag are \"unknown\"."""
    flags = [0x1, 0x200, 0x8, 0x2, 0x2801]
    extents = [Extent(n * SECTOR, n * SECTOR, SECTOR, flag) for n, flag in enumerate(flags)]
    found = pieces(5 * SECTOR, extents, [])
    assert [piece.flags for piece in found] == [
        (),
        ("inline",),
        ("encoded",),
        ("unknown",),
        ("unwritten", "shared"),
    ]
    assert [piece.uncovered for piece in found] == [True, False, False, False, True]


def test_linear() -> None:
    """50,000 extents with a region each take linear time."""
    count = 50_000
    extents = [Extent(2 * n * SECTOR, 2 * n * SECTOR, SECTOR, 0) for n in range(count)]
    found = pieces(2 * count * SECTOR, extents, [region(n, 2 * n, 2 * n + 1) for n in range(count)])
    assert [piece.regions for piece in found[::2]] == [(n,) for n in range(count)]


def test_as_json() -> None:
    """Places are in sectors, the rest in bytes. Only regions and groups that count the file are listed."""
    regions = [
        Region(0, 0, 4, 4, "dmstats", "DMS_GROUP=vm.img:0-1#-"),
        Region(1, 8, 8, 8, "dmstats", "-"),
        Region(2, 10, 2, 2, "theirs", "-"),
        Region(3, 100, 8, 8, "dmstats", "DMS_GROUP=else.img:3#-"),
    ]
    extents = [Extent(0, 0, 1024, 0), Extent(4096, 5120, 1024, 0), Extent(8192, 1 << 20, 512, 0x801)]
    assert layout(8704, extents, regions) == {
        "uncovered_bytes": 512,
        "pieces": [
            {"offset": 0, "length": 1024, "sector": 0, "flags": [], "regions": [0]},
            {"offset": 1024, "length": 3072, "sector": None, "flags": ["hole"], "regions": []},
            {"offset": 4096, "length": 1024, "sector": 10, "flags": [], "regions": [1, 2]},
            {"offset": 5120, "length": 3072, "sector": None, "flags": ["hole"], "regions": []},
            {"offset": 8192, "length": 512, "sector": 2048, "flags": ["unwritten"], "regions": []},
        ],
        "regions": [
            {"id": 0, "group_id": 0, "program": "dmstats", "sector": 0, "length": 2048},
            {"id": 1, "group_id": 0, "program": "dmstats", "sector": 8, "length": 4096},
            {"id": 2, "group_id": None, "program": "theirs", "sector": 10, "length": 1024},
        ],
        "groups": [
            {
                "group_id": 0,
                "alias": "vm.img",
                "program": "dmstats",
                "regions": 2,
                "covered_bytes": 2048,
                "excess_bytes": 4096,
            }
        ],
    }
