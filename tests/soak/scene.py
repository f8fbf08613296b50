"""The fleet that faults are made under: two file systems with five images each, I/O on them, and a supervisor."""

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
"""So many events fit into the supervisor's queue of inotify(7)."""
ON_MOVE: Final = ("/bin/sleep", "1")
"""What is run for each move; it takes long enough to be caught."""
_SIZE_MB: Final = 700
_SETTINGS: Final[dict[str, Any]] = {
    "defaults": {"sample": "1s", "max_regions": 1000},
    "devices": {"max_regions": 10_000},
    "supervisor": {
        "on_move": ON_MOVE,
        # A worker is killed more often than any would crash, and each time another must come at once.
        "restart": {"initial": "50ms", "max": "500ms", "give_up": 100000, "within": "1m"},
        "health": {"interval": "1s", "heartbeat": "5s"},
    },
}


@dataclass(slots=True)
class Scene:
    """All that a fault may touch. `loads` are those of the volumes, by their kinds."""

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
        """Return the images of a kind on a file system."""
        return [image for image in self.images if image.volume is where and image.counted is counted]

    def others(self, than: Volume) -> list[Volume]:
        """Return the other file systems."""
        return [one for one in self.volumes if one is not than]

    def done(self, image: Image) -> tuple[int, int, int]:
        """Return how many reads and writes a counted image has had, and how many have failed since the last look."""
        reads, writes, failed = self.loads[image.volume.kind].done()[image.path]
        return reads + image.before[0], writes + image.before[1], failed - image.forgiven

    @contextlib.contextmanager
    def paused(self, where: Sequence[Volume]) -> Iterator[None]:
        """Have no I/O be made on these file systems for as long as it takes."""
        for one in where:
            self.loads[one.kind].pause()
        try:
            yield
        finally:
            for one in where:
                self.loads[one.kind].go_on()

    def wait_sampled(self) -> None:
        """Wait until what was done to each counted image has been read from its regions."""

        def sampled() -> bool:
            for image in (image for image in self.images if image.counted):
                told = self.supervisor.filemap(image.path)
                assert (told["reads"], told["writes"]) == self.done(image)[:2], (told, self.done(image))
            return True

        wait_for("all is sampled", sampled)

    def grow(self, where: Volume) -> Path:
        """Have an image grow by a MiB, synced, and return which."""
        image = self.rng.choice(self.on(where, counted=False))
        append(image.path)
        return image.path

    def configure(self, *without: Volume) -> None:
        """Have just the images followed that are not on some file systems, by a reload."""
        self.supervisor.write(_configuration(self.images, self.machine, self.port, *without))
        self.reload()

    def reload(self) -> None:
        """Reload the configuration."""
        done = self.supervisor.command("reload")
        assert done.returncode == 0, done

    @contextlib.contextmanager
    def let_go(self, one: Volume) -> Iterator[None]:
        """Have a file system unmounted for as long as it takes, as an operator does: its files are taken out of the
        configuration before."""
        with self.paused([one]):
            self.configure(one)
            one.unmount()
            yield
            one.mount()
            self.configure()
            self.wait_followed([one])

    def wait_followed(self, where: Sequence[Volume]) -> None:
        """Wait until each counted image has a group: I/O before that is nobody's to count."""
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
    """Have queues of inotify that are made now be soon full."""
    longest = Path("/proc/sys/fs/inotify/max_queued_events")
    before = longest.read_text()
    longest.write_text(str(QUEUE))
    try:
        yield
    finally:
        longest.write_text(before)


@contextlib.contextmanager
def _state_dir(folder: Path) -> Iterator[Filesystem]:
    """A small file system for the ledger. While it is not mounted, nothing can be written at its place."""
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "ro", "none", str(folder))
    try:
        with filesystem("ext4", 16, folder) as made:
            yield made
    finally:
        insist("umount", str(folder))


@contextlib.contextmanager
def scene(seed: int, folder: Path) -> Iterator[Scene]:
    """The fleet at rest, with counters that are retired already. `folder` is for the supervisor's files."""
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
