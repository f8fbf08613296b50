"""The differences between two nearly equal replies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dmstats.diff import Records, Rows, differing
from dmstats.region import Region, parse_list
from tests.unit.data import recorded

ROWS, PAIRS = Rows(), Records(16)
# A kernel's rows, some of which have an aux of several lines, and lines that are no rows.
LINES = [
    line + b"\n"
    for name in ("list.txt", "list_odd.txt", "list_empty.txt")
    for line in recorded(name).split(b"\n")
]
EDITS = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 3), st.lists(st.sampled_from(LINES), max_size=3))
)


def edited(pieces: Sequence[bytes], edits: Sequence[tuple[int, int, list[bytes]]]) -> list[bytes]:
    """Return pieces with some removed and others inserted."""
    result = list(pieces)
    for at, gone, come in edits:
        result[at : at + gone] = come
    return result


def replaced(old: Sequence[bytes], pairs: Sequence[tuple[bytes, bytes]]) -> Counter[bytes]:
    """Return the pieces of `old` with each of the pairs replaced."""
    pieces = Counter(old)
    for one, _ in pairs:
        assert not one or pieces[one] > 0
        pieces[one] -= 1
    pieces.update(other for _, other in pairs)
    del pieces[b""]
    return +pieces


def regions_in(lines: Sequence[bytes]) -> Counter[Region]:
    """Return the regions of lines, each parsed separately: ids may be in any order."""
    return Counter(region for line in lines for region in parse_list(line).regions)


@given(st.lists(st.sampled_from(LINES), max_size=12), EDITS)
def test_rows(old: list[bytes], edits: list[tuple[int, int, list[bytes]]]) -> None:
    """After any edits of a list, also with its rows in another order, replacing the differing rows gives the new list
    and its regions."""
    new = edited(old, edits)
    pairs = differing(b"".join(old), memoryview(b"".join(new)), ROWS)
    assert pairs is not None
    assert all(one != other for one, other in pairs)
    assert replaced(old, pairs) == Counter(new)
    rows = regions_in(old)
    rows.subtract(regions_in([one for one, _ in pairs]))
    rows.update(regions_in([other for _, other in pairs]))
    assert +rows == regions_in(new)


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 3), max_size=12), st.data())
def test_records(old: dict[int, int], data: st.DataObject) -> None:
    """Of ascending records exactly the differing ones are returned, each beside the one with its key."""
    new = dict(old)
    for key in data.draw(st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([*old, 5]), max_size=4)):
        new[key] = data.draw(st.integers(0, 3))
    for key in data.draw(st.sets(st.sampled_from(sorted(old)))) if old else ():
        new.pop(key, None)
    sides = [{key: record(key, value) for key, value in side.items()} for side in (old, new)]
    one, other = (b"".join(records[key] for key in sorted(records)) for records in sides)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    assert differing(one, other, PAIRS) == [(sides[0].get(k, b""), sides[1].get(k, b"")) for k in changed]


def record(key: int, value: int) -> bytes:
    """Return a record of 16 bytes."""
    return key.to_bytes(8, "little") + value.to_bytes(8, "little")


def test_few_of_many() -> None:
    """Changed, added and removed rows of a long list are returned, from its first to its last."""
    rows = {n: b"%d: %d+8 8 dmstats -\n" % (n, 8 * n) for n in range(10_000)}
    new = rows | {0: b"0: 0+8 8 dmstats tag\n", 10_000: b"10000: 0+8 8 dmstats -\n"}
    del new[77]
    expected = [(rows[0], new[0]), (rows[77], b""), (b"", new[10_000])]
    assert differing(b"".join(rows.values()), b"".join(new.values()), ROWS) == expected


def test_many_differences_are_not_returned() -> None:
    """A hundred differing rows are returned, of more none."""
    assert len(differing(b"", b"".join(b"%d: -\n" % n for n in range(100)), ROWS) or ()) == 100
    assert differing(b"", b"".join(b"%d: -\n" % n for n in range(101)), ROWS) is None
    assert differing(b"".join(b"%d: -\n" % n for n in range(101)), b"", ROWS) is None
