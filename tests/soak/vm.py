"""A virtual machine with a followed file as its disk, in libvirt's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.unit.libvirt import disk, domain


@dataclass(slots=True)
class Machine:
    """A machine defined in `folder`, whose name may change."""

    folder: Path
    file: Path
    name: str = ""

    def define(self, name: str) -> None:
        """Name it; like libvirt, write a new file and rename it."""
        self.name = name
        new = self.folder / "machine.xml.new"
        new.write_text(domain(name, disk(str(self.file))))
        new.rename(self.folder / "machine.xml")
