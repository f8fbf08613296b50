"""The followed files as the run knows them, and changes to their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from tests.torture.contents import fill


@dataclass(slots=True)
class Image:
    """A configured file. `home` is its configured path, `at` the path where the followed file can be opened
    now, None if there is none."""

    home: Path
    mode: Literal["inode", "path"]
    at: Path | None = None
    fd: int | None = None
    """A descriptor of an unlinked file (mode inode)."""
    ended: bool = False
    """The worker ended with its file (mode inode)."""
    restarts: int = 0
    """The number of worker restarts under this supervisor."""
    aged: int = 0
    """Changes since the file was rewritten."""

    def beside(self, what: str) -> Path:
        """Return another name in the same folder."""
        return self.home.with_name(f"{self.home.name}.{what}")

    @property
    def lives_by_inode(self) -> bool:
        """Return whether a new supervisor would not find the file by its path."""
        return self.mode == "inode" and self.at is not None and self.at != self.home


def create(rng: Random, image: Image) -> None:
    """Create the file again at its path."""
    fill(image.home, rng.randint(1, 6))
    image.at, image.aged = image.home, 0
    if image.ended:
        image.ended = False
        image.restarts += 1


def replace(rng: Random, image: Image) -> None:
    """Rename another file over the path."""
    fill(image.beside("new"), rng.randint(1, 6))
    image.beside("new").rename(image.home)
    image.aged = 0
    if image.mode == "inode":
        image.restarts += 1


def remove(_rng: Random, image: Image) -> None:
    """Unlink the file."""
    image.home.unlink()
    image.at = None
    image.ended = image.mode == "inode"


def make_again(rng: Random, image: Image) -> None:
    """Unlink the file and recreate it at once."""
    remove(rng, image)
    create(rng, image)


def move_away(_rng: Random, image: Image) -> None:
    """Rename the file: mode inode follows it, mode path waits."""
    image.home.rename(image.beside("away"))
    image.at = image.beside("away") if image.mode == "inode" else None


def move_back(_rng: Random, image: Image) -> None:
    """Rename the file back to its path."""
    image.beside("away").rename(image.home)
    image.at = image.home


def link(_rng: Random, image: Image) -> None:
    """Give the file a second name temporarily."""
    os.link(image.home, image.beside("link"))
    image.beside("link").unlink()


def link_over(_rng: Random, image: Image) -> None:
    """Replace the path with another name of the same file."""
    os.link(image.home, image.beside("link"))
    image.home.unlink()
    image.beside("link").rename(image.home)


def unlink_open(_rng: Random, image: Image) -> None:
    """Unlink the file and keep it open."""
    image.fd = os.open(image.home, os.O_RDWR)
    image.home.unlink()
    image.at = Path(f"/proc/{os.getpid()}/fd/{image.fd}")


def close_unlinked(_rng: Random, image: Image) -> None:
    """Close an unlinked file, which deletes it."""
    assert image.fd is not None
    os.close(image.fd)
    image.fd = image.at = None
    image.ended = True


Renaming = Callable[[Random, Image], None]

NAMES: dict[str, Renaming] = {
    f.__name__.replace("_", " "): f
    for f in (
        create, replace, remove, make_again, move_away, move_back, link, link_over, unlink_open, close_unlinked,
    )
}  # fmt: skip
# After these a worker of mode inode exits, so a kill may find it gone.
ENDS = frozenset({"replace", "remove", "make again", "close unlinked"})
# The results of these in mode inode depend on whether a worker already has the file.
_FOLLOWED_ONLY = ENDS | {"move away", "unlink open"}


def possible_names(image: Image, *, starting: bool = False) -> list[str]:
    """Return the name changes that are possible for the file now, or while the supervisor is `starting`."""
    names = _possible_names(image)
    return [n for n in names if n not in _FOLLOWED_ONLY] if starting and image.mode == "inode" else names


def _possible_names(image: Image) -> list[str]:
    if image.fd is not None:
        return ["close unlinked"]
    if image.at is not None and image.at != image.home:
        return ["move back"]
    if image.at is None:
        return ["move back"] if image.beside("away").exists() else ["create"]
    common = ["replace", "remove", "make again", "move away", "link", "link over"]
    return [*common, "unlink open"] if image.mode == "inode" else common
