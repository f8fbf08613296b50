"""The fleet that faults are injected into: two file systems with five images each, I/O on them, and a
supervisor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from sandbox.devices import Filesystem, filesystem
from tests.kernel.changes import append
from tests.kernel.oracle import run
from tests.kernel.running import Running, running, wait_for
from tests.kernel.scraping import free_port, listen
from tests.soak.images import Image, make_images
from tests.soak.load import Load
from tests.soak.refusing import Refuser
from tests.soak.vm import Machine
from tests.soak.volume import Kind, Volume, insist, volume

KINDS: Final[tuple[Kind, ...]] = ("ext4", "xfs")
QUEUE: Final = 64
"""The length of the supervisor's inotify(7) queue."""
ON_MOVE: Final = ("/bin/sleep", "1")
"""The command for each move; it runs long enough to be caught."""
_SIZE_MB: Final = 700
_SETTINGS: Final[dict[str, Any]] = {
    "defaults": {"sample": "1s", "max_regions": 1000},
    "devices": {"max_regions": 10_000},
    "supervisor": {
        "on_move": ON_MOVE,
        # Workers are killed more often than they would crash, and must be replaced at once each time.
        "restart": {"initial": "50ms", "max": "500ms", "give_up": 100000, "within": "1m"},
        "health": {"interval": "1s", "heartbeat": "5s"},
    },
}


@dataclass(slots=True)
class Scene:
    """Everything that a fault may touch. `loads` are by the kinds of their volumes."""

    folder: Path
    supervisor: Running
    volumes: Sequence[Volume]
    images: Sequence[Image]
    loads: dict[Kind, Load]
    state: Filesystem
    machine: Machine
    refuser: Refuser
    rng: Random
    port: int

    def on(self, where: Volume, *, counted: bool) -> list[Image]:
        """Return the counted or the other images on a file system."""
        return [image for image in self.images if image.volume is where and image.counted is counted]

    def others(self, than: Volume) -> list[Volume]:
        """Return the other file systems."""
        return [one for one in self.volumes if one is not than]

    def done(self, image: Image) -> tuple[int, int, int]:
        """Return the number of reads and writes of a counted image, and of failures not yet accounted for."""
        reads, writes, failed = self.loads[image.volume.kind].done()[image.path]
        return reads + image.before[0], writes + image.before[1], failed - image.forgiven

    @contextlib.contextmanager
    def paused(self, where: Sequence[Volume]) -> Iterator[None]:
        """Pause I/O on these file systems while the context lasts."""
        for one in where:
            self.loads[one.kind].pause()
        try:
            yield
        finally:
            for one in where:
                self.loads[one.kind].go_on()

    def wait_sampled(self) -> None:
        """Wait until all I/O of each counted image has been sampled."""

        def sampled() -> bool:
            for image in (image for image in self.images if image.counted):
                filemap = self.supervisor.filemap(image.path)
                assert (filemap["reads"], filemap["writes"]) == self.done(image)[:2], (
                    filemap,
                    self.done(image),
                )
            return True

        wait_for("all is sampled", sampled)

    def grow(self, where: Volume) -> Path:
        """Grow an image by a MiB, synced, and return which."""
        image = self.rng.choice(self.on(where, counted=False))
        append(image.path)
        return image.path

    def configure(self, *without: Volume) -> None:
        """Reload a configuration of exactly the images that aren't on the given file systems."""
        self.supervisor.write(_configuration(self.images, self.machine, self.port, *without))
        self.reload()

    def reload(self) -> None:
        """Reload the configuration."""
        done = self.supervisor.command("reload")
        assert done.returncode == 0, done

    @contextlib.contextmanager
    def let_go(self, one: Volume) -> Iterator[None]:
        """Unmount a file system while the context lasts, as an operator does: its files are removed from the
        configuration first."""
        with self.paused([one]):
            self.configure(one)
            one.unmount()
            yield
            one.mount()
            self.configure()
            self.wait_followed([one])

    def wait_followed(self, where: Sequence[Volume]) -> None:
        """Wait until each counted image has a group: earlier I/O would not be counted."""
        for one in where:
            for image in self.on(one, counted=True):
                self.supervisor.wait_state(image.path)


def _configuration(images: Sequence[Image], machine: Machine, port: int, *without: Volume) -> dict[str, Any]:
    filemaps = [
        {"path": str(image.path), "mode": "path" if number % 2 else "inode"}
        for number, image in enumerate(images)
        if image.volume not in without
    ]
    vms = {"folders": [str(machine.folder)], "processes": False}
    return {**_SETTINGS, **listen(port), "filemaps": filemaps, "vms": vms}


@contextlib.contextmanager
def _short_queue() -> Iterator[None]:
    """Shorten new inotify queues."""
    longest = Path("/proc/sys/fs/inotify/max_queued_events")
    before = longest.read_text()
    longest.write_text(str(QUEUE))
    try:
        yield
    finally:
        longest.write_text(before)


@contextlib.contextmanager
def _state_dir(folder: Path) -> Iterator[Filesystem]:
    """A small file system for the ledger. While it is unmounted, its mount point can't be written to."""
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "ro", "none", str(folder))
    try:
        with filesystem("ext4", 16, folder) as made:
            yield made
    finally:
        insist("umount", str(folder))


@contextlib.contextmanager
def scene(seed: int, folder: Path) -> Iterator[Scene]:
    """The fleet at rest, with some counters retired. `folder` is for the supervisor's files."""
    with contextlib.ExitStack() as undo:
        volumes = [undo.enter_context(volume(kind, _SIZE_MB, folder / kind)) for kind in KINDS]
        images = [image for one in volumes for image in make_images(one)]
        loads: dict[Kind, Load] = {}
        for number, one in enumerate(volumes):
            counted = [image.path for image in images if image.volume is one and image.counted]
            loads[one.kind] = Load(counted, seed + number)
            undo.callback(loads[one.kind].end)
        state = undo.enter_context(_state_dir(folder / "state"))
        machine = Machine(folder / "libvirt", images[0].path)
        machine.folder.mkdir()
        machine.define("machine")
        undo.enter_context(_short_queue())
        port = free_port()
        refuser = Refuser(folder / "refuser", seed)
        undo.callback(refuser.end)
        config = _configuration(images, machine, port)
        supervisor = undo.enter_context(running(folder, config, refuser.program()))
        yield Scene(folder, supervisor, volumes, images, loads, state, machine, refuser, Random(seed), port)
