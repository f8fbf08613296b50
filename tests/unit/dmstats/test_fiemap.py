"""FIEMAP buffers as filled by ext4 and XFS, and the layout in the headers."""

from __future__ import annotations

import pytest

from dmstats import fiemap
from dmstats.fiemap import NOT_ON_DISK, Extent, ExtentFlag, parse_fiemap
from dmstats.ranges import Range, footprint
from tests.unit.data import recorded, sizes

MIB = 1 << 20
KIB64 = 1 << 16
UNWRITTEN = 0x800  # FIEMAP_EXTENT_UNWRITTEN: allocated, but never written


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The values in the kernel's headers."""
    return sizes(tmp_path_factory.mktemp("sizes"))


def test_structs_are_those_of_the_headers(header: dict[str, int]) -> None:
    """Sizes and fields of fiemap and fiemap_extent, and the ioctl's number, equal the headers'."""
    assert fiemap.FS_IOC_FIEMAP == header["FS_IOC_FIEMAP"] == 0xC020660B
    assert fiemap.FIEMAP.size == header["fiemap"] == 32
    assert fiemap.FIEMAP_EXTENT.size == header["fiemap_extent"] == 56
    assert header["fiemap.fm_mapped_extents"] == fiemap._MAPPED_OFFSET
    packed = fiemap.FIEMAP_EXTENT.pack(11, 22, 33, 44)
    for field, width, value in (("logical", 8, 11), ("physical", 8, 22), ("length", 8, 33), ("flags", 4, 44)):
        at = header[f"fiemap_extent.fe_{field}"]
        assert int.from_bytes(packed[at : at + width], "little") == value, field


def test_flags_are_those_of_the_headers(header: dict[str, int]) -> None:
    """The flags of extents equal the headers'."""
    for flag in ExtentFlag:
        assert flag.value == header[f"FIEMAP_EXTENT_{flag.name}"]


@pytest.mark.parametrize(
    ("name", "places"),
    [("ext4", (5287936, 7385088, 9482240)), ("xfs", (98304, 163840, 229376))],
)
def test_recorded_extents_with_holes(name: str, places: tuple[int, int, int]) -> None:
    """Three extents with holes between them are parsed with their places, and only the last one is marked as
    last."""
    extents = [
        Extent(2 * MIB * at, place, KIB64, ExtentFlag.LAST if at == 2 else 0)
        for at, place in enumerate(places)
    ]
    assert parse_fiemap(recorded(f"fiemap_{name}_holes.bin")) == extents
    # A buffer with room for two: both are returned, neither is the last.
    assert parse_fiemap(recorded(f"fiemap_{name}_full.bin")) == extents[:2]


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_recorded_delayed_allocation(name: str) -> None:
    """A delayed extent has no place on the device yet, and is marked as such."""
    landed, late = parse_fiemap(recorded(f"fiemap_{name}_delalloc.bin"))
    assert late == Extent(MIB, 0, KIB64, 0x7)
    assert late.flags & NOT_ON_DISK
    where = footprint([landed, late])
    assert where.ranges == (Range(landed.physical // 512, (landed.physical + KIB64) // 512),)
    assert (where.extents, where.unplaced_bytes, where.landing) == (1, KIB64, True)


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_recorded_unwritten_extent(name: str) -> None:
    """An allocated extent that was never written has a place on the device."""
    (extent,) = parse_fiemap(recorded(f"fiemap_{name}_unwritten.bin"))
    assert (extent.logical, extent.length, extent.flags) == (0, 2 * KIB64, UNWRITTEN | ExtentFlag.LAST)
    assert footprint([extent]).ranges == (
        Range(extent.physical // 512, (extent.physical + 2 * KIB64) // 512),
    )


@pytest.mark.parametrize("name", ["ext4", "xfs"])
def test_recorded_empty_file(name: str) -> None:
    """An empty file has no extents, though the buffer had room."""
    assert parse_fiemap(recorded(f"fiemap_{name}_empty.bin")) == []


def test_stale_room_is_not_read() -> None:
    """Bytes beyond the extents that the kernel filled in are not parsed."""
    buffer = bytearray(recorded("fiemap_ext4_holes.bin"))
    buffer[-fiemap.FIEMAP_EXTENT.size :] = b"\xff" * fiemap.FIEMAP_EXTENT.size
    assert len(parse_fiemap(buffer)) == 3
