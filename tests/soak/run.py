"""The run: a seeded stream of faults under a fleet with I/O, with all checks after each."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from tests.soak.faults import FAULTS
from tests.soak.right import Judge, Lost
from tests.soak.scene import Scene, scene
from tests.soak.tally import Tally

# During a fault elsewhere a change is followed within this time; most of it is the machine's load.
_SERVED: Final = 60.0
# The minimum number of kinds of faults, for a short run on a slow machine.
_FEWEST: Final = 6

_SHOWN: Final = (
    "name", "device", "state", "reason", "pid", "group_id", "extents", "regions", "uncovered_bytes", "degraded",
    "restarts", "last_crash", "process_status", "silent_ms", "reads", "writes", "bytes_read", "bytes_written",
)  # fmt: skip


class Soak:
    """One run under a fleet."""

    def __init__(self, scene: Scene, seed: int, tally: Tally) -> None:
        self._scene = scene
        self._seed = seed
        self._rng = Random(seed)
        self._tally = tally
        self._judge = Judge(scene)
        self._changes: list[str] = []

    def begin(self) -> None:
        """Retire some counters and start the I/O."""
        self._judge.until_right(self._scene.volumes)
        counted = [image for image in self._scene.images if image.counted]
        for image in counted:
            image.use_spare(reads=20, writes=10)
        self._judge.until_exact(self._scene.volumes)
        for image in counted:
            image.retire_some()
        self._judge.until_right(self._scene.volumes)
        self._judge.until_exact(self._scene.volumes)
        for load in self._scene.loads.values():
            load.go_on()

    def fault(self, name: str) -> None:
        """Inject one fault, and check everything after it. Raises Lost."""
        made = self._tally.faults[name]
        self._change()
        with FAULTS[name](self._scene, self._rng) as served:
            for where in served:
                grown = self._scene.grow(where)
                made.others_waited.append(self._judge.until_covered(grown, where, _SERVED))
        took = self._judge.until_right(self._scene.volumes)
        with self._scene.paused(self._scene.volumes):
            self._judge.until_exact(self._scene.volumes)
            self._rng.choice([image for image in self._scene.images if image.counted]).change_tail(self._rng)
            self._judge.until_right(self._scene.volumes)
            self._judge.until_exact(self._scene.volumes)
        made.right_after.append(took)
        self._changes.clear()

    def end(self) -> None:
        """Check what may take longer. Raises Lost."""
        self._judge.until_named()

    def _change(self) -> None:
        for where in self._scene.volumes:
            image = self._rng.choice(self._scene.on(where, counted=False))
            self._changes.append(image.change(self._rng))
            self._tally.changes += 1

    def attempt(self, name: str, step: Callable[[], None]) -> None:
        """Run a step; print a loss and record it under the step's name."""
        try:
            step()
        except (Lost, AssertionError) as error:
            kind = error.kind if isinstance(error, Lost) else "a step of the run"
            self._tally.faults[name].lost.append(kind)
            print(
                f"\nseed {self._seed}, {name}: {kind}: {error}\n{self._report()}", file=sys.stderr, flush=True
            )

    def _report(self) -> str:
        """Return the state of supervisor and run."""
        log = self._scene.supervisor.log.read_text()[-8000:]
        status = "\n".join(
            str({key: filemap[key] for key in _SHOWN})
            for filemap in self._scene.supervisor.status()["filemaps"]
        )
        return f"changes: {self._changes}\nstatus:\n{status}\nthe log:\n{log}"


def soak(seconds: float, seed: int, folder: Path, only: Sequence[str] = ()) -> Tally:
    """Inject faults for that long, each kind once before any repeats, and return the results. A loss is
    printed to stderr and ends the run. `folder` is for all files."""
    tally = Tally()
    with scene(seed, folder) as made:
        run = Soak(made, seed, tally)
        run.begin()
        rng, bag, until = Random(seed), list[str](), time.monotonic() + seconds
        few = min(_FEWEST, len(only or FAULTS))
        while tally.passed and (time.monotonic() < until or len(tally.faults) < few):
            if not bag:
                bag = sorted(only or FAULTS)
                rng.shuffle(bag)
            name = bag.pop()
            print(f"{time.monotonic() - tally.began:5.0f} s  {name}", flush=True)
            run.attempt(name, partial(run.fault, name))
        if tally.passed:
            run.attempt("the end", run.end)
        for load in made.loads.values():
            for reads, writes, _ in load.done().values():
                tally.reads, tally.writes = tally.reads + reads, tally.writes + writes
    return tally
