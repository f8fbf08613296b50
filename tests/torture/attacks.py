"""Attacks of other programs on our groups, with the system's tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from tests.kernel.oracle import Row, message, run
from tests.torture.view import Book, members_of

GARBAGE: Final = b"overwritten"

Attack = Callable[[Random, str, Row, Book], None]


def ungroup(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Remove the tag as dmstats does."""
    run("dmstats", "ungroup", "--groupid", str(leader.id), device)


def delete_group(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Delete the group with all its regions."""
    run("dmstats", "delete", "--groupid", str(leader.id), device)


def clear_group(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Reset the counters of all its regions."""
    for number in members_of(leader):
        message(device, f"@stats_clear {number}")


def delete_member(rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Delete one of the regions."""
    message(device, f"@stats_delete {rng.choice(members_of(leader))}")


def delete_leader(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Delete the region that bears the tag."""
    message(device, f"@stats_delete {leader.id}")


def empty_tag(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Overwrite the tag with an empty one."""
    message(device, f"@stats_set_aux {leader.id} -")


def overwrite_tag(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Overwrite the tag with other text."""
    message(device, b"@stats_set_aux %d %s" % (leader.id, GARBAGE))


def shorten_tag(_rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Make the tag list only its own region."""
    _retag(device, leader, [leader.id])


def lengthen_tag(rng: Random, device: str, leader: Row, book: Book) -> None:
    """Make the tag list a region of another program too."""
    others = [number for number in book if number > leader.id]
    _retag(device, leader, [*members_of(leader), *rng.sample(others, min(1, len(others)))])


def rename_group(rng: Random, device: str, leader: Row, _book: Book) -> None:
    """Give the group another alias."""
    tag = _plain(leader)
    renamed = re.sub(rb"=.*?:", b"=alias%d:" % rng.randrange(100), tag, count=1)
    message(device, b"@stats_set_aux %d %s" % (leader.id, renamed))


def _plain(leader: Row) -> bytes:
    """Return the tag without the options that the kernel appends."""
    return leader.aux.split(b" precise_timestamps")[0].split(b" histogram:")[0]


def _retag(device: str, leader: Row, members: Sequence[int]) -> None:
    listed = ",".join(map(str, sorted(members))).encode()
    tag = re.sub(rb":[0-9,-]+#", b":%s#" % listed, _plain(leader), count=1)
    message(device, b"@stats_set_aux %d %s" % (leader.id, tag))


ATTACKS: Final[dict[str, Attack]] = {
    f.__name__.replace("_", " "): f
    for f in (
        ungroup, delete_group, clear_group, delete_member, delete_leader, empty_tag, overwrite_tag, shorten_tag,
        lengthen_tag, rename_group,
    )
}  # fmt: skip
