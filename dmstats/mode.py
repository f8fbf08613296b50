"""The modes of a filemap: follow the file (inode), or the file at its path (path)."""

from __future__ import annotations

from enum import Enum


class FilemapdMode(Enum):
    """The modes of dmfilemapd(8) (libdm: dm_filemapd_mode_t)."""

    INODE = "inode"
    PATH = "path"

    @classmethod
    def from_string(cls, text: str) -> FilemapdMode:
        """Return the mode named by `text`, or raise ValueError that names the modes."""
        try:
            return cls(text)
        except ValueError:
            raise ValueError(f"unknown mode {text!r}: it is 'inode' or 'path'") from None
