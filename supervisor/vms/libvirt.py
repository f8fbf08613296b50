"""Parses libvirt's XML of a virtual machine, which is not trusted. Pure.

Nothing of XML that could be used against its reader is taken: a document type (and with it every entity) is
refused, and no file is larger than MAX_BYTES. Libvirt writes neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn
from xml.parsers import expat

MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Domain:
    """A virtual machine. `disks` are the files of its disks, each with its role (matching.Machine)."""

    name: str
    uuid: str | None
    running: bool
    """Whether it is running; then libvirt writes the chains of backing files, too."""
    pid: int | None
    disks: tuple[tuple[str, str], ...]
    whole: bool
    """Whether `disks` has the files of all its disks: only libvirt knows the file of a pool's volume."""


def parse(data: bytes) -> Domain:
    """Return the domain in a file of /run/libvirt/qemu (root element domstatus) or /etc/libvirt/qemu (domain).

    Raises ValueError for anything else.
    """
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"not XML: {error}") from None
    return reader.domain()


def _refuse(*_: object) -> NoReturn:
    raise ValueError("has a document type")


class _Reader:
    """Reads the elements that matter, by their place: metadata may have others with the same names."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._root: str | None = None
        self._pid: int | None = None
        self._texts: dict[str, str] = {}
        self._disks: list[tuple[str, str]] = []
        self._whole = True

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and self._root is None:
            self._root = tag
            if tag == "domstatus":
                self._pid = _number(attributes.get("pid", ""))
                return
        self._path.append(tag)
        if self._path[:3] == ["domain", "devices", "disk"]:
            self._disk(tag, attributes)

    def _disk(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "source" and "volume" in attributes:
            self._whole = False
        elif tag == "source" and attributes.get("file", "").startswith("/"):
            # <source> of the disk itself, of its data file, or of the mirror that a job copies it to.
            role = "backing" if "backingStore" in self._path else "disk"
            self._disks.append((attributes["file"], role))

    def text(self, text: str) -> None:
        match self._path:
            case ["domain", ("name" | "uuid") as key]:
                self._texts[key] = self._texts.get(key, "") + text

    def end(self, _tag: str) -> None:
        if self._path:  # <domstatus> itself is not in it
            self._path.pop()

    def domain(self) -> Domain:
        """Return the domain."""
        name = self._texts.get("name", "")
        if self._root not in {"domstatus", "domain"} or not name:
            raise ValueError("no domain with a name")
        return Domain(
            name,
            self._texts.get("uuid") or None,
            self._root == "domstatus",
            self._pid,
            tuple(self._disks),
            self._whole,
        )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else None  # noqa: PLR2004 - 32 bits
