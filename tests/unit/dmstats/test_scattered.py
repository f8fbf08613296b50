"""Scattered changes of a file with many extents, on a model device: its state is valid after each message."""

from __future__ import annotations

import contextlib
import errno
import random
from functools import cache

import pytest

from dmstats.errors import DmError
from dmstats.group import MAX_TAG_BYTES, parse_tag
from dmstats.marker import parse_mark
from dmstats.ranges import Range, joined
from dmstats.reconcile import UNLIMITED
from tests.unit.history import ADOPTED, FILE, Kept, look
from tests.unit.model import Killed, ModelDevice, Row

# Most don't change from one message to the next.
tag_of, mark_of = cache(parse_tag), cache(parse_mark)


class Watched(ModelDevice):
    """A device that checks after each message that each tag is short enough to edit and lists only existing
    regions of FILE, and that each region of FILE is in a tag or bears its mark. `kinds` are the received
    messages."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []

    def _send(self, message: bytes) -> memoryview:
        reply = super()._send(message)
        if self.fuse is not None:
            self.kinds.append(message.split()[0].decode())
            self.check({number: row for number, row in self.rows.items() if row.program == b"dmstats"})
        return reply

    @staticmethod
    def check(rows: dict[int, Row]) -> None:
        """Assert the conditions above."""
        auxes = {number: row.aux.decode() for number, row in rows.items()}
        tags = [tag for number, aux in auxes.items() if (tag := tag_of(aux, number)) is not None]
        assert tags, "the group is gone"
        assert all(tag.length() <= MAX_TAG_BYTES for tag in tags)
        listed = {number for tag in tags for span in tag.members for number in span}
        assert listed <= rows.keys(), "a tag lists a free id"
        for number in rows.keys() - listed:
            mark = mark_of(auxes[number])
            assert mark is not None
            assert mark.names(FILE)


MANY = [Range(8 * n, 8 * n + 4) for n in range(900)]
SCATTERED = set(random.Random(1).sample(range(1, len(MANY)), 360))
LEFT = [piece for n, piece in enumerate(MANY) if n not in SCATTERED]
CHANGES = {
    "as many come": LEFT + [Range(10_000 + 8 * n, 10_004 + 8 * n) for n in range(len(SCATTERED))],
    "fewer come": LEFT + [Range(10_000 + 8 * n, 10_004 + 8 * n) for n in range(10)],
    "some shrink": sorted([*LEFT, *(Range(8 * n, 8 * n + 2) for n in sorted(SCATTERED)[::2])]),
    "the leader goes too": LEFT[1:] + [Range(10_000 + 8 * n, 10_004 + 8 * n) for n in range(len(SCATTERED))],
}


def changed(device: ModelDevice, change: str, below: bool, fuse: int) -> int:
    """Map MANY in an unmarked group, read each piece, and reconcile the group with the change, killed after
    `fuse` messages. Assert that the next run completes it and no count is lost. Return how many messages the
    fuse had left."""
    theirs = device.create(90_000, 5, program="theirs", aux="mine")
    look(device, MANY, spec=ADOPTED)
    for region in device.list("dmstats").regions[1:]:
        device.set_aux(region.id, "")
    for piece in MANY:
        device.read(piece.start)
    if below:
        device.delete(theirs)
    ledger = Kept(device)
    device.fuse = fuse
    with contextlib.suppress(Killed):
        look(device, CHANGES[change], ledger, spec=ADOPTED)
    left, device.fuse = device.fuse, None
    ledger.settle()
    outcome = look(device, CHANGES[change], ledger, spec=ADOPTED)
    assert sum(row.reads for row in device.rows.values()) + ledger.reads == len(MANY)
    assert joined((r.start, r.end) for r in outcome.members) == tuple(CHANGES[change])
    assert [r for r in device.list().regions if r.program == "dmstats"] == list(outcome.members)
    return left


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("below", [False, True])
def test_scattered_changes(change: str, below: bool) -> None:
    """When freed ids must be reused for the tag to fit, and an id below the leader's may be free, the group
    is valid after each message; after a kill at any message no count is lost."""
    plenty, device = 10_000, Watched()
    sent = plenty - changed(device, change, below, plenty)
    last = max(n for n, kind in enumerate(device.kinds) if kind == "@stats_create")
    assert "@stats_delete" in device.kinds[:last]
    for fuse in range(0, sent, 250):
        changed(ModelDevice(), change, below, fuse)


class Refusing(Watched):
    """A device with memory for `room` more regions."""

    room = UNLIMITED

    def _create(self, where: bytes, step: bytes, count: bytes, *words: bytes) -> bytes:
        if self.room == 0:
            raise DmError(errno.ENOMEM, "@stats_create", "the model")
        self.room -= 1
        return super()._create(where, step, count, *words)


@pytest.mark.parametrize("room", [0, 1, 100, 359])
def test_scattered_changes_refused(room: int) -> None:
    """When the kernel refuses a region during scattered changes, the existing regions are the group, without
    those retired to make room, and the next run completes it."""
    device = Refusing()
    look(device, MANY)
    for piece in MANY:
        device.read(piece.start)
    ledger = Kept(device)
    device.room, device.fuse = room, 10_000
    outcome = look(device, CHANGES["as many come"], ledger)
    assert outcome.failure is not None
    assert list(outcome.members) == list(device.list().regions)
    assert {piece.start for piece in LEFT} <= {region.start for region in outcome.members}
    device.room = UNLIMITED
    outcome = look(device, CHANGES["as many come"], ledger)
    assert joined((r.start, r.end) for r in outcome.members) == tuple(CHANGES["as many come"])
    assert outcome.members == device.list().regions
    assert sum(row.reads for row in device.rows.values()) + ledger.reads == len(MANY)
