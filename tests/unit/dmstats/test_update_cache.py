"""The cache of an updated group, and its invalidation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dmstats.marker import process_mark
from dmstats.update import update
from dmstats.update_cache import DeviceCache
from tests.unit.dmstats.test_update import DEAD, FILES, Piece, create, structs
from tests.unit.model import ModelDevice

MINE = FILES[0]


def followed() -> tuple[ModelDevice, DeviceCache, tuple[int, ...]]:
    """Return a device with a group of 20 regions of MINE, the ids 1 to 20 between others', after an
    update."""
    device, seen = ModelDevice(), DeviceCache()
    device.create(1000, 8, program="theirs", aux="x")
    create(device, MINE, pieces(20), marked=True)
    device.create(1000, 8, program="theirs", aux="x")
    ids = update(seen, device, MINE, bytes(structs(pieces(20))), 1)
    assert ids == tuple(range(1, 21))
    return device, seen, ids


def pieces(count: int) -> dict[int, Piece]:
    """Return `count` extents that lie apart."""
    return {n: (10 * n, 4, 0) for n in range(count)}


STANDS: dict[str, Callable[[ModelDevice], object]] = {
    "nothing": ModelDevice.list_text,
    "a region comes": lambda device: device.create(1000, 8, program="theirs", aux="y"),
    "a region goes": lambda device: device.delete(0),
    "a region is marked": lambda device: device.set_aux(21, "z"),
    "another file's": lambda device: device.create(0, 8, aux=str(process_mark(FILES[1]))),
}
CONCERNS: dict[str, Callable[[ModelDevice], object]] = {
    "the leader goes": lambda device: device.delete(1),
    "the last goes": lambda device: device.delete(20),
    "another has its id": lambda device: [device.rows.pop(20), device.create(0, 8)],
    "a member is marked": lambda device: device.set_aux(7, "z"),
    "the tag goes": lambda device: device.set_aux(1, "z"),
    "a tag comes": lambda device: device.create(1000, 8, program="theirs", aux="DMS_GROUP=:22#-"),
    "a mark comes": lambda device: device.create(0, 8, aux=str(DEAD)),
    "much comes": lambda device: [device.create(0, 8, program="theirs") for _ in range(200)],
}


@pytest.mark.parametrize("action", STANDS)
def test_unrelated_changes(action: str) -> None:
    """The cache stays valid when regions change that are unrelated to its file."""
    device, seen, ids = followed()
    STANDS[action](device)
    seen.read(device.list_view())
    last = seen.pop(MINE, 1)
    assert last is not None
    assert last.ids == ids


@pytest.mark.parametrize("action", CONCERNS)
def test_related_changes(action: str) -> None:
    """The cache of a group that is changed, or might be, is dropped and stays so."""
    device, seen, _ = followed()
    CONCERNS[action](device)
    for _ in range(2):
        seen.read(device.list_view())
        assert seen.pop(MINE, 1) is None


def test_growth_adds_a_region() -> None:
    """The growth of a file gets a region, and the cache stays valid until that region is gone."""
    device, seen, ids = followed()
    for count in range(21, 25):
        device.set_aux(0, f"x{count}")
        extents = bytes(structs(pieces(count)))
        seen.read(device.list_view())
        last = seen.pop(MINE, 1)
        assert last is not None
        now = last.extended(device, extents, len(device.rows))
        assert now is not None
        assert now.unlisted
        assert now.ids == tuple(number for number in device.rows if number not in (0, 21))
        assert now.ids[: len(ids)] == ids
        seen.put(now)
    device.delete(25)
    seen.read(device.list_view())
    assert seen.pop(MINE, 1) is None


def test_no_growth() -> None:
    """When a file lost something or grew much at once, the fast path does nothing."""
    device, seen, _ = followed()
    text = device.list_text()
    seen.read(device.list_view())
    last = seen.pop(MINE, 1)
    assert last is not None
    for changed in (pieces(19), pieces(19) | {19: (190, 3, 0)}, pieces(400)):
        assert last.extended(device, bytes(structs(changed)), len(device.rows)) is None
    assert device.list_text() == text


def test_few_groups_are_remembered() -> None:
    """With many groups the one cached first is dropped."""
    device, seen, _ = followed()
    seen.read(device.list_view())
    last = seen.pop(MINE, 1)
    assert last is not None
    files = [replace(MINE, inode=n) for n in range(9)]
    for file in files:
        seen.put(replace(last, file=file))
    assert [seen.pop(file, 1) is not None for file in files] == [False] + [True] * 8
