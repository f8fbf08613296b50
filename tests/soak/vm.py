"""A virtual machine that a followed file is a disk of, as libvirt tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.unit.libvirt import disk, domain


@dataclass(slots=True)
class Machine:
    """It is defined in `folder`, by a name that may change."""

    folder: Path
    file: Path
    name: str = ""

    def define(self, name: str) -> None:
        """Give it a name; as libvirt does, by a new file in the place of the one before."""
        self.name = name
        new = self.folder / "machine.xml.new"
        new.write_text(domain(name, disk(str(self.file))))
        new.rename(self.folder / "machine.xml")
