"""The checks after each fault, against filefrag, dmsetup and the load's own count."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from supervisor.text.times import seconds_of
from tests.soak.images import Image
from tests.soak.load import BLOCK
from tests.soak.scene import Scene
from tests.soak.volume import Volume
from tests.torture.view import View, cover_faults, orphans, view

# On a busy machine a killed supervisor takes some seconds to restart.
DEADLINE: Final = 60.0
# A stopped search times out after 30 s, and the next one starts a minute later.
_NAMED: Final = 120.0
_COUNTED: Final = ("reads", "writes", "bytes_read", "bytes_written")
_PAUSE: Final = 0.05


class Lost(Exception):  # noqa: N818 - the name is the event
    """A check failed; `kind` is its category."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Judge:
    """Checks a scene; it knows the totals shown earlier."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._shown: dict[str, dict[str, int]] = {}

    def until_right(self, where: Sequence[Volume], deadline: float = DEADLINE) -> float:
        """Wait until all files on these file systems have exactly their group; return the seconds it took.

        Raises Lost.
        """
        return self._until("groups", deadline, lambda: self._wrong(where))

    def until_covered(self, file: Path, where: Volume, deadline: float) -> float:
        """Wait until one file is covered exactly; return the seconds it took. Raises Lost."""
        return self._until("service", deadline, lambda: cover_faults(view(where.name, [file])))

    def until_named(self) -> None:
        """Wait until the machine's disk is shown with its name. Raises Lost."""
        self._until("names", _NAMED, self._unnamed)

    def _unnamed(self) -> list[str]:
        machine = self._scene.machine
        shown = self.statuses().get(str(machine.file), {}).get("vm")
        return [] if shown and shown["name"] == machine.name else [f"{machine} is shown as {shown}"]

    def until_exact(self, where: Sequence[Volume]) -> None:
        """Wait until the counted images' totals equal the I/O done; none may be in progress. Raises Lost."""
        images = [image for one in where for image in self._scene.on(one, counted=True)]
        since = time.time()
        self._until("I/O", DEADLINE, lambda: self._miscounted(images, since))
        self._forgive(images)

    def _until(self, kind: str, deadline: float, wrong: Callable[[], list[str]]) -> float:
        began = time.monotonic()
        while faults := wrong():
            if self._scene.supervisor.process.poll() is not None:
                raise Lost("supervisor", f"it ended with {self._scene.supervisor.process.returncode}")
            if time.monotonic() > began + deadline:
                raise Lost(kind, "\n".join([f"not right after {deadline:g} s:", *faults]))
            time.sleep(_PAUSE)
        return time.monotonic() - began

    def _wrong(self, where: Sequence[Volume]) -> list[str]:
        for one in where:
            images = [image for image in self._scene.images if image.volume is one]
            seen = view(one.name, [image.path for image in images])
            if faults := cover_faults(seen) or orphans(seen) or self._states(images, seen):
                return faults
        return []

    def _states(self, images: Sequence[Image], seen: View) -> list[str]:
        filemaps = self.statuses()
        found = []
        for image in images:
            filemap = filemaps.get(str(image.path), {})
            wanted = {"RUNNING"} if seen.spans[image.path] else {"RUNNING", "WAITING"}
            if filemap.get("state") not in wanted:
                found.append(f"{image.path.name}: {filemap.get('state')} ({filemap.get('reason')})")
            if filemap.get("device") != image.volume.name:
                found.append(f"{image.path.name}: on {filemap.get('device')}, not on {image.volume.name}")
        return found

    def _miscounted(self, images: Sequence[Image], since: float) -> list[str]:
        """Return images whose totals differ from the I/O done. Failed I/O may be counted or not; then only a
        sample after `since` includes all that the device saw."""
        filemaps = self.statuses()
        found = []
        for image in images:
            filemap = filemaps.get(str(image.path), {})
            counted, done = [filemap.get(key, 0) for key in _COUNTED], self._scene.done(image)
            sampled_at = filemap.get("sampled_at")
            if done[2] and (sampled_at is None or seconds_of(sampled_at) < since):
                found.append(f"{image.path.name}: read at {sampled_at} for the last time")
            elif not _accounted(counted, done):
                found.append(f"{image.path.name}: {counted}, done {done}")
        return found

    def _forgive(self, images: Sequence[Image]) -> None:
        """Accept the counted part of failed I/O as what the device saw of it."""
        filemaps = self.statuses()
        for image in images:
            reads, writes, failed = self._scene.done(image)
            filemap = filemaps[str(image.path)]
            more = (filemap["reads"] - reads, filemap["writes"] - writes)
            image.before = (image.before[0] + more[0], image.before[1] + more[1])
            image.forgiven += failed

    def statuses(self) -> dict[str, dict[str, Any]]:
        """Return the status of each file by its path. Raises Lost if a total has decreased."""
        filemaps = {filemap["path"]: filemap for filemap in self._scene.supervisor.status()["filemaps"]}
        for path, filemap in filemaps.items():
            last, new = self._shown.get(path, {}), {key: filemap[key] for key in _COUNTED}
            if any(new[key] < last.get(key, 0) for key in _COUNTED):
                raise Lost("totals", f"{path} {filemap['state']} went back: from {last} to {new}")
            self._shown[path] = new
        return filemaps


def _accounted(counted: Sequence[int], done: tuple[int, int, int]) -> bool:
    """Return whether the counters equal the I/O done, with failed I/O counted or not."""
    reads, writes, failed = done
    more = (counted[0] - reads, counted[1] - writes)
    blocks = [counted[0] * BLOCK, counted[1] * BLOCK]
    return min(more) >= 0 and sum(more) <= failed and list(counted[2:]) == blocks
