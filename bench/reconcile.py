"""Reconciles one file in this process: unchanged, much changed, or mapped for the first time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from bench.context import Bench, Measurement, timed
from bench.counting import Messages, counting
from bench.floor import fiemap
from bench.libdm import PeerError, peer_stats
from bench.noise import median
from bench.results import Goal, Row
from bench.volume import Volume, append_pieces, punch, ranges_of, volume
from dmstats.filemap import create_regions_from_fd, update_regions_from_fd
from dmstats.ranges import Range

_VOLUME_MB: Final = 512
# For slow measurements, and for the peer: the fewest that show noise.
_FEW: Final = 3
_FIFTH_OF_PEER: Final = (Goal(most=1 / 5, of="peer"),)


def unchanged(bench: Bench) -> Iterator[Row]:
    """Measure an update without changes, at three sizes."""
    each: list[float] = []
    for size in bench.pick((1_000, 10_000, 20_000), (100, 200, 400)):
        row, others, messages = unchanged_at(bench, size)
        each.append(median(others.filemapd) / size)
        yield row
        yield from counts(row.name, messages, {"list": 1})
        yield others
    yield Row(
        name="the same: time for each extent, at the most to at the fewest",
        unit="x",
        filemapd=(each[-1] / each[0],),
        goals=(Goal(most=1.2),),
    )


def unchanged_at(bench: Bench, size: int) -> tuple[Row, Row, Messages]:
    """Return the row for where nothing changed at all, that for where another region has come to the device,
    and the messages of the first."""
    ours, again, bare, peers = [], [], [], []
    with volume(_VOLUME_MB) as disk:
        fd = disk.fragmented("image", size)
        (group_id, *_) = create_regions_from_fd(fd)
        with counting() as messages:
            update_regions_from_fd(fd, group_id)
        for _ in range(bench.pick(9, 3)):
            ours.append(timed(partial(update_regions_from_fd, fd, group_id)))
            bare.append(timed(partial(_look, disk, fd, size)))
        for _ in range(bench.pick(9, 3)):
            disk.bare.create([Range(0, 8)])
            again.append(timed(partial(update_regions_from_fd, fd, group_id)))
        if bench.peer is not None:
            disk.clear()
            with peer_stats(bench.peer, fd) as stats:
                group_id = stats.create()
                peers = [timed(partial(stats.update, group_id)) for _ in range(_FEW)]
    name = f"{size:,} extents"
    return (
        _row(f"update, nothing changed, {name}", ours, bare, peers, goals=_FIFTH_OF_PEER),
        _row(f"update, only another's region came, {name}", again, bare, peers, goals=_FIFTH_OF_PEER),
        messages,
    )


def one_more(bench: Bench) -> Iterator[Row]:
    """Measure the cost of one more extent: a region is created, the tag is set."""
    size = bench.pick(10_000, 200)
    ours, bare, peers = [], [], []
    with volume(_VOLUME_MB) as disk:
        fd = disk.fragmented("image", size)
        (group_id, *_) = create_regions_from_fd(fd)
        for turn in range(1, bench.pick(9, 3) + 1):
            append_pieces(fd, 1)
            with counting() as messages:
                ours.append(timed(partial(update_regions_from_fd, fd, group_id)))
            bare.append(timed(partial(_one_more, disk, fd, size + turn)))
            disk.bare.delete([size + turn])
        if bench.peer is not None:
            disk.clear()
            with peer_stats(bench.peer, fd) as stats:
                group_id = stats.create()
                for _ in range(_FEW):
                    append_pieces(fd, 1)
                    peers.append(timed(partial(stats.update, group_id)))
    name = f"one more extent at {size:,}"
    yield _row(name, ours, bare, peers, goals=_FIFTH_OF_PEER)
    yield from counts(name, messages, {"create": 1, "set_aux": 1, "list": 1})


def scattered(bench: Bench) -> Iterator[Row]:
    """Measure an update that replaces a tenth of the extents, scattered."""
    size = bench.pick(10_000, 200)
    ours, least, same, note = [], [], [], ""
    with volume(_VOLUME_MB) as disk:
        for _ in range(_FEW):
            fd = disk.fragmented("image", size)
            before = ranges_of(fd)
            with counting() as mapping:
                (group_id, *_) = create_regions_from_fd(fd)
            _scatter(fd, size)
            after = ranges_of(fd)
            with counting() as messages:
                ours.append(timed(partial(update_regions_from_fd, fd, group_id)))
            disk.clear()
            disk.bare.create(before)
            least.append(timed(partial(_replace, disk, fd, before, after)))
            disk.clear()
            disk.bare.replay(mapping.sent)
            same.append(timed(partial(disk.bare.replay, messages.sent)))
            disk.clear()
            os.unlink(disk.folder / "image")
        if bench.peer is not None:
            fd = disk.fragmented("image", size)
            with peer_stats(bench.peer, fd) as stats:
                group_id = stats.create()
                _scatter(fd, size)
                try:
                    note = f"peer: {timed(partial(stats.update, group_id)):.0f} ms"
                except PeerError:
                    note = "the peer fails"
    name = f"10% scattered changes at {size:,}"
    yield _row(name, ours, least, goals=(Goal(most=1.3, of="floor"),), note=note)
    yield _row(f"{name}: beside the same messages", ours, same)
    part = size // 10
    # A tag has room for some 90 holes at a time, where ids are freed and given again.
    tags = 1 + part // 50
    yield from counts(
        name, messages, {"create": part, "delete": part, "print": part, "set_aux": tags, "list": 1}
    )


def from_nothing(bench: Bench) -> Iterator[Row]:
    """Measure how long it takes to map a file without regions."""
    size = bench.pick(10_000, 200)
    ours, bare, peers = [], [], []
    with volume(_VOLUME_MB) as disk:
        fd = disk.fragmented("image", size)
        ranges = ranges_of(fd)
        with counting() as messages:
            create_regions_from_fd(fd)
        disk.clear()
        for turn in range(bench.pick(9, _FEW)):
            ours.append(timed(partial(create_regions_from_fd, fd)))
            disk.clear()
            bare.append(timed(partial(_map, disk, fd, ranges)))
            disk.clear()
            if bench.peer is not None and turn < _FEW:
                with peer_stats(bench.peer, fd) as stats:
                    peers.append(timed(stats.create))
                disk.clear()
    name = f"map {size:,} extents from nothing"
    yield _row(name, ours, bare, peers, goals=(Goal(most=1.15, of="floor"),))
    yield from counts(name, messages, {"create": size, "set_aux": 1, "list": 1})


def _scatter(fd: int, size: int) -> None:
    append_pieces(fd, size // 10)
    # Not the first: most changes leave the leader in place.
    chosen = random.Random(size).sample(range(1, size), size // 10)
    punch(fd, sorted(2 * piece for piece in chosen))


def _look(disk: Volume, fd: int, extents: int) -> None:
    fiemap(fd, extents)
    disk.bare.list()


def _map(disk: Volume, fd: int, ranges: tuple[Range, ...]) -> None:
    _look(disk, fd, len(ranges))
    disk.bare.create(ranges)
    disk.bare.set_aux(0)


def _one_more(disk: Volume, fd: int, extents: int) -> None:
    _look(disk, fd, extents)
    disk.bare.create([Range(0, 8)])
    disk.bare.set_aux(extents)


def _replace(disk: Volume, fd: int, before: tuple[Range, ...], after: tuple[Range, ...]) -> None:
    """Create regions for new extents and delete those of removed ones; ids are positions in `before`."""
    there, still = set(before), set(after)
    gone = [number for number, piece in enumerate(before) if piece not in still]
    _look(disk, fd, len(after))
    disk.bare.create(piece for piece in after if piece not in there)
    disk.bare.set_aux(0)
    disk.bare.print(gone)
    disk.bare.delete(gone)


def _row(
    name: str,
    ours: list[float],
    bare: list[float],
    peers: list[float] | None = None,
    goals: tuple[Goal, ...] = (),
    note: str = "",
) -> Row:
    return Row(
        name=name,
        unit="ms",
        filemapd=tuple(ours),
        floor=tuple(bare),
        peer=tuple(peers or ()),
        goals=goals,
        note=note,
    )


def counts(name: str, messages: Messages, most: Mapping[str, int]) -> Iterator[Row]:
    """Yield a row for each kind of message sent, with its limit: 0 for a kind that is not named."""
    sent = messages.kinds()
    for kind in sorted({*sent, *most}):
        yield Row(
            name=f"{name}: @stats_{kind}",
            unit="count",
            filemapd=(sent[kind],),
            goals=(Goal(most=most.get(kind, 0)),),
        )


MEASUREMENTS: Final = (
    Measurement("unchanged", "updates that change nothing", unchanged),
    Measurement("one-more", "one more extent", one_more),
    Measurement("scattered", "a tenth of the extents changed", scattered),
    Measurement("map", "a file mapped from nothing", from_nothing),
)
