"""The run: a seeded stream of changes and disturbances on one file system, checked after each step."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from sandbox.devices import Device, filesystem
from tests.kernel.oracle import message
from tests.kernel.running import Running, running
from tests.torture.attacks import ATTACKS
from tests.torture.contents import CONTENTS, LARGEST, NAMELESS, fill, write_anew
from tests.torture.images import ENDS, NAMES, Image, possible_names
from tests.torture.neighbours import Intruder, Reader
from tests.torture.tally import Tally
from tests.torture.view import View, cover_faults, group_of, orphans, touched, view

Kind = Literal["ext4", "xfs"]

# On a busy machine a killed supervisor takes some seconds to restart.
DEADLINE: Final = 60.0
_SIZE_MB: Final = 800
_IMAGES: Final[tuple[tuple[str, Literal["inode", "path"]], ...]] = (
    ("inode0.img", "inode"), ("inode1.img", "inode"), ("path0.img", "path"), ("path1.img", "path"),
)  # fmt: skip
_PAUSE: Final = 0.01
# After this many changes a file is in some dozens of pieces, and is rewritten.
_OLDEST: Final = 20
_COUNTED: Final = ("reads", "writes", "bytes_read", "bytes_written")
_CONFIG: Final[dict[str, Any]] = {
    "defaults": {"sample": "1s", "max_regions": 1000},
    "devices": {"max_regions": 10_000},
    # Workers are killed more often than they would crash, and must be replaced at once each time.
    "supervisor": {"restart": {"initial": "50ms", "max": "100ms", "give_up": 100000, "within": "1m"}},
}


class Missed(Exception):  # noqa: N818 - the name is the event
    """A check failed; `counter` is the tally's figure for it."""

    def __init__(self, counter: str, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.counter = counter


@dataclass(slots=True)
class _Step:
    """The changes of a step as (file, kind), and its disturbances."""

    changes: list[tuple[Image, str]] = field(default_factory=list)
    disturbances: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        made = [f"{kind} of {image.home.name}" for image, kind in self.changes]
        return ", ".join([*self.disturbances, *made])


class Torture:
    """One run on a mounted file system, with its supervisor."""

    def __init__(
        self,
        kind: Kind,
        device: Device,
        images: list[Image],
        supervisor: Running,
        intruder: Intruder,
        seed: int,
    ) -> None:
        self._contents = CONTENTS[kind]
        self._device = device
        self._images = images
        self._supervisor = supervisor
        self._intruder = intruder
        self._rng = Random(seed)
        # Draws that depend on time or regions use another generator, so that the stream depends only on the seed.
        self._chance = Random(seed + 1)
        self._totals: dict[str, dict[str, int]] = {}
        self._given_up: dict[int, tuple[int, int]] = {}
        self._statuses: dict[str, dict[str, Any]] = {}

    def run(self, tally: Tally) -> None:
        """Make the changes. Raises Missed."""
        while tally.done < tally.wanted:
            step = _Step()
            try:
                self._advance(step, tally)
            except Missed as missed:
                setattr(tally, missed.counter, getattr(tally, missed.counter) + 1)
                report = self._report(tally.steps, step)
                raise Missed(missed.counter, [*missed.args, report]) from missed
            tally.progress()

    def _advance(self, step: _Step, tally: Tally) -> None:
        if not tally.steps:
            self._until_followed(step)
        rng = self._rng
        attack = rng.choice(sorted(ATTACKS)) if rng.random() < 0.15 else None
        kill = rng.random()
        if attack is not None:
            self._attack(attack, step)
        if kill < 0.02:
            self._kill_supervisor(step)
        pids = {image.home: self._pid(image) for image in self._images}
        for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
            self._change(rng.choice(self._images), step)
        changed_at = time.monotonic()
        if 0.02 <= kill < 0.12:
            self._kill_worker(rng.choice(self._images), pids, step)
        exact_at = self._until_followed(step)
        took = max(0.0, exact_at - changed_at) * 1000
        tally.step([kind for _, kind in step.changes], step.disturbances, took)

    # Actions.

    def _change(self, image: Image, step: _Step) -> None:
        rng = self._rng
        if image.at is None or rng.random() < 0.2 or (image.fd is not None and rng.random() < 0.3):
            starting = "kill supervisor" in step.disturbances
            kind = rng.choice(possible_names(image, starting=starting))
            step.changes.append((image, kind))
            NAMES[kind](rng, image)
            return
        image.aged += 1
        if image.aged > _OLDEST or image.at.stat().st_size > LARGEST:
            image.aged = 0
            step.changes.append((image, "rewrite"))
            write_anew(rng, image.at)
            return
        choices = self._contents if image.fd is None else NAMELESS
        kind = rng.choice(sorted(choices))
        step.changes.append((image, kind))
        choices[kind](rng, image.at)

    def _attack(self, name: str, step: _Step) -> None:
        image = self._rng.choice(self._images)
        with self._intruder.paused() as (book, _):
            seen = self._view()
            leaders = group_of(seen.rows, seen.inodes[image.at]) if image.at is not None else []
            if not leaders:
                return
            step.disturbances.append(name)
            if name in {"overwrite tag", "empty tag"}:
                self._given_up[leaders[0].id] = (leaders[0].start, leaders[0].length)
            ATTACKS[name](self._chance, self._device.name, leaders[0], book)

    def _kill_worker(self, image: Image, pids: dict[Path, int | None], step: _Step) -> None:
        delay = self._chance.choice(
            (0.0, 0.0, self._chance.uniform(0.0, 0.08), self._chance.uniform(0.0, 0.6))
        )
        pid = pids[image.home]
        ends = any(one is image and kind in ENDS for one, kind in step.changes)
        if pid is None or (image.mode == "inode" and (ends or image.ended)):
            return
        time.sleep(delay)
        step.disturbances.append("kill worker")
        os.kill(pid, signal.SIGKILL)
        image.restarts += 1

    def _kill_supervisor(self, step: _Step) -> None:
        """Kill it and start another, which finds files by their paths only."""
        for image in self._images:
            while image.lives_by_inode:
                kind = possible_names(image)[0]
                step.changes.append((image, kind))
                NAMES[kind](self._rng, image)
        if step.changes:
            self._until_followed(step)
        step.disturbances.append("kill supervisor")
        self._supervisor.process.kill()
        self._supervisor.again()
        for image in self._images:
            image.restarts, image.ended = 0, False

    # Checks.

    def _pid(self, image: Image) -> int | None:
        pid = self._statuses.get(str(image.home), {}).get("pid")
        return pid if isinstance(pid, int) else None

    def _view(self) -> View:
        return view(self._device.name, [image.at for image in self._images if image.at is not None])

    def _until_followed(self, step: _Step) -> float:
        """Wait until all checks pass; return when the cover was first exact. Raises Missed."""
        until = time.monotonic() + DEADLINE
        changed = [image.at for image, _ in step.changes if image.at is not None]
        some = sorted(set(changed)) if not step.disturbances else None
        exact_at: float | None = None
        while True:
            began = time.monotonic()
            faults = ("missed", self._cover_faults(some))
            if not faults[1]:
                exact_at = exact_at or began
                faults = self._faults(step)
            if not faults[1]:
                return exact_at or began
            if faults[0] in {"backwards", "touched"} or began > until:
                raise Missed(*faults)
            if self._supervisor.process.poll() is not None:
                raise Missed("exits", [f"the supervisor ended with {self._supervisor.process.returncode}"])
            time.sleep(_PAUSE)

    def _cover_faults(self, some: list[Path] | None) -> list[str]:
        if some is None:
            return cover_faults(self._view())
        return cover_faults(view(self._device.name, some))

    def _faults(self, step: _Step) -> tuple[str, list[str]]:
        """Return the failed checks of all files, and the tally's figure for them."""
        with self._intruder.paused() as (book, complaints):
            seen = self._view()
            wrong = complaints or touched(self._without_given_up(seen), book)
        if faults := cover_faults(seen):
            return "missed", faults
        if faults := orphans(seen):
            return "orphans", faults
        if wrong:
            return "touched", wrong
        if faults := self._went_back():
            return "backwards", faults
        return "exits", self._state_faults(seen, step)

    def _without_given_up(self, seen: View) -> View:
        """Return the view without regions whose tag was overwritten. They belong to the attacker, in whose
        place they are deleted here."""
        rows = []
        for row in seen.rows:
            if self._given_up.get(row.id) == (row.start, row.length) and b"filemapd." not in row.aux:
                message(self._device.name, f"@stats_delete {row.id}")
            else:
                rows.append(row)
        self._given_up.clear()
        return View(tuple(rows), seen.spans, seen.inodes)

    def _went_back(self) -> list[str]:
        """Read the status; return the totals that have decreased."""
        found = []
        self._statuses = {filemap["path"]: filemap for filemap in self._supervisor.status()["filemaps"]}
        for path, filemap in self._statuses.items():
            last = self._totals.get(path, {})
            new = {key: filemap[key] for key in _COUNTED}
            if any(new[key] < last.get(key, 0) for key in _COUNTED):
                found.append(f"{path} {filemap['state']}: from {last} to {new}")
            self._totals[path] = {key: max(new[key], last.get(key, 0)) for key in _COUNTED}
        return found

    def _state_faults(self, seen: View, step: _Step) -> list[str]:
        found = []
        for image in self._images:
            filemap = self._statuses.get(str(image.home), {})
            text = f"{image.home.name}: {filemap.get('state')} ({filemap.get('reason')})"
            if filemap.get("state") not in _states(image, seen):
                found.append(f"{text}, not {' or '.join(_states(image, seen))}")
            restarts = filemap.get("restarts", -1)
            # If a file is replaced twice in a step, or gone at its end, one worker's end may be seen.
            ends = sum(one is image and kind in ENDS for one, kind in step.changes)
            if not image.restarts - ends <= restarts <= image.restarts:
                found.append(
                    f"{text}: {restarts} restarts for {image.restarts} ({filemap.get('last_crash')})"
                )
            elif not found:
                image.restarts = restarts
        return found

    def _report(self, number: int, step: _Step) -> str:
        """Return the state of supervisor and device."""
        seen = self._view()
        lines = [f"in step {number}: {step}", "the device has:"]
        lines += [f"  {row.id}: {row.start}+{row.length} {row.program!r} {row.aux!r}" for row in seen.rows]
        for image in self._images:
            lines += [f"{image}", f"  filefrag: {seen.spans[image.at] if image.at is not None else None}"]
            lines += [f"  status: {self._supervisor.filemap(image.home)}"]
        return "\n".join([*lines, "the log:", self._supervisor.log.read_text()[-6000:]])


def _states(image: Image, seen: View) -> tuple[str, ...]:
    if image.ended:
        return ("STOPPED",)
    if image.at is None:
        return ("WAITING",)
    return ("RUNNING",) if seen.spans[image.at] else ("RUNNING", "WAITING")


@contextmanager
def scene(kind: Kind, seed: int, folder: Path, tally: Tally) -> Iterator[Torture]:
    """A file system with followed files under a supervisor, and other programs on the device."""
    with filesystem(kind, size_mb=_SIZE_MB) as fs:
        images = [Image(fs.mountpoint / name, mode, fs.mountpoint / name) for name, mode in _IMAGES]
        for image in images:
            fill(image.home, 6)
        filemaps = [{"path": str(image.home), "mode": image.mode} for image in images]
        intruder = Intruder(fs.device.dev_t, fs.device.sectors, seed + 2)
        reader = Reader([image.home for image in images], seed + 3)
        try:
            with running(folder, {**_CONFIG, "filemaps": filemaps}) as supervisor:
                yield Torture(kind, fs.device, images, supervisor, intruder, seed)
        finally:
            reader.end()
            tally.intruder = intruder.end()
            for image in images:
                if image.fd is not None:
                    os.close(image.fd)


def torture(kind: Kind, seed: int, count: int, folder: Path) -> Tally:
    """Make `count` changes on a file system of that kind and return the tally. A failure is printed to stderr
    with what reproduces it. `folder` is for the supervisor's files."""
    tally = Tally(kind, count)
    try:
        with scene(kind, seed, folder, tally) as run:
            run.run(tally)
    except Missed as missed:
        print(f"\nseed {seed} on {kind}, {missed.counter}:\n{missed}", file=sys.stderr, flush=True)
    tally.progress(over=True)
    return tally
