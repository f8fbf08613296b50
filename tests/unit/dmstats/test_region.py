"""Replies to @stats_list, recorded from a kernel, and the words of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmstats.device import escape
from dmstats.region import Listing, Region, Table, parse_list
from tests.unit.data import recorded
from tests.unit.model import split_words


def any_bytes(text: bytes) -> str:
    """Return bytes as dmstats decodes them."""
    return text.decode("utf-8", "surrogateescape")


def test_no_regions() -> None:
    """The reply of a device without regions has none."""
    assert parse_list(recorded("list_empty.txt")) == Listing(())


def test_recorded_list() -> None:
    """Rows are parsed with and without precise timestamps and histogram, with one area and several."""
    listing = parse_list(recorded("list.txt"))
    assert listing.unread == ()
    assert listing.regions == (
        Region(0, 0, 64, 64, "dmstats", "-"),
        Region(1, 64, 64, 64, "dmstats", "-", precise=True),
        Region(2, 128, 64, 64, "dmstats", "-", bounds=(1, 10, 100)),
        Region(3, 192, 64, 64, "other", "aux", precise=True, bounds=(100_000, 1_000_000)),
        Region(4, 256, 100, 34, "dmstats", "-", precise=True),
        Region(5, 0, 256, 64, "dmstats", "-", bounds=(5,)),
        Region(6, 0, 131072, 131072, "-", "-"),
    )
    assert [region.end for region in listing.regions[:2]] == [64, 128]


def test_recorded_odd_rows() -> None:
    """An aux of any bytes is parsed unchanged. Unreadable rows are set aside without affecting others."""
    listing = parse_list(recorded("list_odd.txt"))
    assert {region.id: region.aux for region in listing.regions} == {
        0: "two words  here",
        1: "back\\slash",
        2: "tab\there",
        3: "one",
        4: any_bytes(b"caf\xc3\xa9"),
        5: any_bytes(b"split\xc3\xa0"),
        6: any_bytes(b"no\xff\xfetext"),
        7: "end",
        8: 'DMS_GROUP="vm 1":8-9#mine',
        9: "x" * 5000,
        11: "-",
    }
    assert listing.unread == ("line", "10: 800+8 8 tab\tname -")


@pytest.mark.parametrize(
    "row",
    [
        "0: 0+8 8 dmstats",
        "x: 0+8 8 dmstats -",
        "0: 0-8 8 dmstats -",
        "٣: 0+8 8 dmstats -",
        "garbage",
        "9" * 5000 + ": 0+8 8 dmstats -",
    ],
)
def test_bad_row_loses_nothing_else(row: str) -> None:
    """A row of another form affects only itself."""
    listing = parse_list(f"0: 0+8 8 dmstats -\n{row}\n7: 8+8 8 dmstats -\n".encode())
    assert [region.id for region in listing.regions] == [0, 7]
    assert listing.unread == (row,)


@pytest.mark.parametrize(
    "aux", ["a histogram:" + "9" * 5000, "a histogram:1," + "9" * 5000, "DMS_GROUP=:0-" + "9" * 5000]
)
def test_numbers_beyond_reason(aux: str) -> None:
    """An aux with a number of thousands of digits, which Python refuses, doesn't break the list."""
    listing = parse_list(f"0: 0+8 8 dmstats {aux}\n1: 8+8 8 dmstats -\n".encode())
    assert [region.id for region in listing.regions] == [0, 1]
    assert listing.regions[0].aux == aux


@pytest.mark.parametrize(
    ("end", "aux", "precise", "bounds"),
    [
        ("a precise_timestamps histogram:1,2", "a", True, (1, 2)),
        ("a histogram:1 precise_timestamps", "a histogram:1", True, ()),
        ("a histogram:1 histogram:2", "a histogram:1", False, (2,)),
        ("a precise_timestamps precise_timestamps", "a precise_timestamps", True, ()),
        ("a precise_timestamps histogram:1,", "a precise_timestamps histogram:1,", False, ()),
        ("precise_timestamps", "precise_timestamps", False, ()),
        (" precise_timestamps histogram:7", "", True, (7,)),
        ("histogram:7", "histogram:7", False, ()),
    ],
)
def test_aux_like_options(end: str, aux: str, precise: bool, bounds: tuple[int, ...]) -> None:
    """Only the last words are the kernel's options, once each and in its order; the rest is the aux."""
    (region,) = parse_list(f"0: 0+8 8 dmstats {end}\n".encode()).regions
    assert region == Region(0, 0, 8, 8, "dmstats", aux, precise, bounds)


def test_rows_share_what_they_have_in_common() -> None:
    """Equal marks and bounds of thousands of regions are in memory once."""
    row = "0+8 8 dmstats some-mark precise_timestamps histogram:1,2\n"
    one, other = parse_list(f"0: {row}1: {row}".encode()).regions
    assert one.aux is other.aux
    assert one.bounds is other.bounds


ROWS = st.lists(
    st.builds(
        Region,
        st.integers(0, 2**31 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(1, 2**64 - 1),
        st.integers(1, 2**64 - 1),
        st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs")), min_size=1),
        st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), min_size=1),
        st.booleans(),
        st.lists(st.integers(1, 2**63), max_size=3).map(tuple),
    ).filter(lambda r: "precise_timestamps" not in r.aux and "histogram:" not in r.aux),
    max_size=6,
    unique_by=lambda region: region.id,
).map(lambda regions: sorted(regions, key=lambda region: region.id))


@given(ROWS)
def test_rows_are_read_back(regions: list[Region]) -> None:
    """Rows in the kernel's form are parsed as they were written, with any aux."""
    text = "".join(
        f"{r.id}: {r.start}+{r.length} {r.step} {r.program} {r.aux}"
        + (" precise_timestamps" if r.precise else "")
        + (" histogram:" + ",".join(map(str, r.bounds)) if r.bounds else "")
        + "\n"
        for r in regions
    )
    assert parse_list(text.encode()) == Listing(tuple(regions))


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ([0, 7, 2, 8], [0, 2, 8]),
        ([0, 99, 1, 2], [0, 1, 2]),
        ([0, 1, 1, 2], [0, 1, 2]),
        ([3, 0, 4], [0, 4]),
        ([0, 1, 99], [0, 1, 99]),
    ],
)
def test_forged_rows(ids: list[int], found: list[int]) -> None:
    """Rows that break the ascending order of ids are forged by a newline in an aux, and are no regions."""
    text = "".join(f"{number}: 0+8 8 dmstats -\n" for number in ids)
    assert [region.id for region in parse_list(text.encode()).regions] == found


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    """No reply makes the parser fail."""
    listing = parse_list(text.encode())
    assert len(listing.regions) + len(listing.unread) == sum(1 for line in text.split("\n") if line)


@given(st.text(st.characters(exclude_characters="\0")), st.lists(st.text(min_size=1), min_size=1))
def test_table_of_any_text(text: str, words: list[str]) -> None:
    """A table of any reply has the same content as its parsed regions; rows with given words are all
    found."""
    table = Table((text + "\n" if text else "").encode())
    listing = parse_list(table.text)
    assert table.regions() == listing.regions
    assert len(table) >= len(listing.regions)
    assert table.ids() >= {region.id for region in listing.regions}
    found = table.having([word.encode() for word in words])
    assert set(found) <= set(listing.regions)
    rows = [line for line in text.split("\n") if any(word in line for word in words)]
    assert set(parse_list("\n".join(rows).encode()).regions) <= set(found)


def test_rows_that_have_a_word() -> None:
    """Only rows with the word are parsed, whether it occurs once or twice, first or last, in ascending
    order."""
    auxes = {0: "this", 4: "this this", 50: "that", 99: "this that"}
    text = "".join(f"{n}: {8 * n}+8 8 dmstats {auxes.get(n, '-')}\n" for n in range(100))
    table = Table(text.encode())
    assert [region.id for region in table.having([b"this"])] == [0, 4, 99]
    assert [region.id for region in table.having([b" that", b" this"])] == [0, 4, 50, 99]
    assert table.having([b"neither"]) == ()
    assert len(table.having([b"dmstats"])) == len(table) == len(table.ids()) == 100


@given(st.lists(st.binary(min_size=1).filter(lambda word: b"\0" not in word), min_size=1))
def test_escaped_words_stay_one(words: list[bytes]) -> None:
    """The kernel splits between escaped words, and reads each with its own bytes."""
    message = b" ".join(escape(any_bytes(word)) for word in words)
    assert split_words(message) == words


def test_escape_covers_what_the_kernel_splits_at() -> None:
    """Tabs, newlines, 0xA0 as the second byte of a letter, and backslashes are escaped; an empty word becomes
    a dash."""
    assert escape("a b\tc\nd\\e") == b"a\\ b\\\tc\\\nd\\\\e"
    assert escape("à") == b"\xc3\\\xa0"
    assert escape("") == b"-"
